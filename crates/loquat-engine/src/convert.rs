//! Files whose weights no fast kernel reads, converted once to eight bits and kept.
//!
//! Q4_0, Q4_1 and Q8_0 are computed with as they are. Everything else (K-quants, Q5, halves) is turned into Q8_0, which takes
//! seconds for a larger model; so the result is kept as a GGUF of its own in the user's cache, under a name made of the
//! source's size, time, header and this converter's version. It is written beside its name, under one that nobody else writes
//! under, and renamed when complete, and ends in a SHA-256 of itself: one that is cut short or altered is made anew. Where the
//! cache cannot be written, nothing is lost but the time.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

use crate::error::{Result, local};
use crate::gguf::Gguf;

/// Part of the name: a converter that does something else must not find this one's files.
const VERSION: u32 = 1;
/// Converted files kept; the one unused for longest goes first.
const MAX_KEPT: usize = 4;
const SUM_BYTES: usize = 32;
/// What a file under way is called at its end.
const PART: &str = ".part";
/// One that nobody has written to for so long is what a process left that was killed. Writing takes seconds.
const LEFT_AFTER: Duration = Duration::from_secs(3_600);

/// The file to load instead of `source`: itself where nothing needs converting.
pub(crate) fn prepared(source: Gguf, folder: Option<&Path>) -> Gguf {
    let needs = source.places().any(|(_, place)| place.rows > 1 && !place.is_native());
    let (true, Some(folder)) = (needs, folder) else { return source };
    match kept(&source, folder) {
        Ok(converted) => converted,
        // Without the cache the weights are converted in memory, at every start.
        Err(_) => source,
    }
}

fn kept(source: &Gguf, folder: &Path) -> Result<Gguf> {
    let path = folder.join(name(source)?);
    if is_sound(&path)
        && let Ok(converted) = Gguf::open(&path)
    {
        // Its time says when it was last used.
        drop(File::open(&path).and_then(|file| file.set_modified(SystemTime::now())));
        return Ok(converted);
    }
    let failed = |e| local(format!("cannot write {}", path.display()), e);
    fs::create_dir_all(folder).map_err(failed)?;
    let (file, temporary) = begun(folder).map_err(failed)?;
    let written =
        write(source, file, &temporary).and_then(|()| fs::rename(&temporary, &path).map_err(failed));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written?;
    evict(folder, &path);
    Gguf::open(&path)
}

/// A file to write, which is this call's alone: another load of this process, or of one with the same id in another container,
/// has its own.
fn begun(folder: &Path) -> std::io::Result<(File, PathBuf)> {
    sweep(folder);
    let mut number = RandomState::new().hash_one(std::process::id());
    loop {
        let path = folder.join(format!(".{number:016x}{PART}"));
        match File::create_new(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => number = number.wrapping_add(1),
            created => return created.map(|file| (file, path)),
        }
    }
}

/// Whether that file goes by a name that is given here: so many digits between these. Somebody may keep files of their own in the same
/// folder.
fn is_ours(path: &Path, before: &str, digits: RangeInclusive<usize>, behind: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = name.strip_prefix(before).and_then(|name| name.strip_suffix(behind)).unwrap_or_default();
    digits.contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes what was left half written.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let modified = || fs::metadata(&path).and_then(|found| found.modified()).ok()?.elapsed().ok();
        if is_ours(&path, ".", 1..=16, PART) && modified().is_some_and(|age| age > LEFT_AFTER) {
            drop(fs::remove_file(&path));
        }
    }
}

fn name(source: &Gguf) -> Result<String> {
    let failed = |e| local(format!("cannot read {}", source.path().display()), e);
    let found = fs::metadata(source.path()).map_err(failed)?;
    let modified =
        found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(VERSION.to_le_bytes());
    hash.update(found.len().to_le_bytes());
    hash.update(modified.as_nanos().to_le_bytes());
    let file = File::open(source.path()).map_err(failed)?;
    std::io::copy(&mut file.take(1 << 20), &mut hash_writer(&mut hash)).map_err(failed)?;
    Ok(format!("{}.gguf", hex(&hash.finalize()[..16])))
}

fn write(source: &Gguf, file: File, path: &Path) -> Result<()> {
    let failed = |e| local(format!("cannot convert {}", source.path().display()), e);
    let mut from = File::open(source.path()).map_err(|e| local("cannot open the model", e))?;
    let mut tensors = Vec::new();
    let mut places: Vec<_> = source.places().collect();
    // In order, so that the same source gives the same file.
    places.sort_by_key(|(name, _)| *name);
    for (name, place) in places {
        let tensor = source.tensor(&mut from, name)?;
        let convert = || -> candle_core::Result<QTensor> {
            if place.rows == 1 || place.is_native() || !place.columns.is_multiple_of(32) {
                return Ok(tensor);
            }
            let values: Tensor = tensor.dequantize(&Device::Cpu)?;
            QTensor::quantize(&values, GgmlDType::Q8_0)
        };
        tensors.push((name, convert().map_err(failed)?));
    }
    let mut metadata: Vec<(&str, &Value)> =
        source.metadata().filter(|(key, _)| *key != "general.alignment").collect();
    metadata.sort_by_key(|(key, _)| *key);
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let io = |e| local(format!("cannot write {}", path.display()), e);
    let mut to = BufWriter::new(file);
    gguf_file::write(&mut to, &metadata, &tensors).map_err(failed)?;
    let end = to.seek(SeekFrom::End(0)).map_err(io)?;
    to.write_all(&vec![0; usize::try_from(end.next_multiple_of(32) - end).unwrap_or(0)]).map_err(io)?;
    to.into_inner().map_err(|e| io(e.into_error()))?;
    let sum = sum_of(path, end.next_multiple_of(32)).map_err(io)?;
    let mut to = fs::OpenOptions::new().append(true).open(path).map_err(io)?;
    to.write_all(&sum).and_then(|()| to.sync_all()).map_err(io)
}

/// Whether the file is as it was written.
fn is_sound(path: &Path) -> bool {
    let check = || -> std::io::Result<bool> {
        let Some(length) = fs::metadata(path)?.len().checked_sub(SUM_BYTES as u64) else { return Ok(false) };
        let mut sum = [0; SUM_BYTES];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(length))?;
        file.read_exact(&mut sum)?;
        Ok(sum_of(path, length)? == sum)
    };
    check().unwrap_or(false)
}

fn sum_of(path: &Path, length: u64) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let file = BufReader::with_capacity(1 << 20, File::open(path)?);
    std::io::copy(&mut file.take(length), &mut hash_writer(&mut hash))?;
    Ok(hash.finalize().into())
}

/// Removes what is too much: the longest unused first, never `newest`.
fn evict(folder: &Path, newest: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path != newest && is_ours(path, "", 32..=32, ".gguf"))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    files.sort();
    let surplus = (files.len() + 1).saturating_sub(MAX_KEPT);
    for (_, path) in files.into_iter().take(surplus) {
        // Another process may have been faster.
        drop(fs::remove_file(path));
    }
}

fn hash_writer(hash: &mut Sha256) -> impl Write + '_ {
    struct Into<'a>(&'a mut Sha256);
    impl Write for Into<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    Into(hash)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::tiny::Recipe;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        entries.flatten().map(|entry| entry.path()).collect()
    }

    #[test]
    fn conversion_happens_once_and_changes_no_answer() {
        let source = Recipe::new().write();
        let folder = tempfile::tempdir().unwrap();
        let open = || prepared(Gguf::open(&source.path).unwrap(), Some(folder.path()));
        let converted = open();
        assert_eq!(files(folder.path()), [converted.path()]);
        assert!(converted.places().all(|(_, place)| place.rows == 1 || place.is_native()));
        let written = fs::read(converted.path()).unwrap();
        assert_eq!(open().path(), converted.path());
        assert_eq!(fs::read(converted.path()).unwrap(), written);

        let logits = |file: &Gguf| crate::tests::oracle::logits_of(file, &[1, 2, 3]);
        assert_eq!(logits(&converted), logits(&Gguf::open(&source.path).unwrap()));
    }

    #[test]
    fn a_corrupt_copy_is_made_anew() {
        let source = Recipe::new().write();
        let folder = tempfile::tempdir().unwrap();
        let open = || prepared(Gguf::open(&source.path).unwrap(), Some(folder.path()));
        let path = open().path().to_owned();
        let whole = fs::read(&path).unwrap();
        let flipped =
            [&whole[..whole.len() / 2], &[!whole[whole.len() / 2]], &whole[whole.len() / 2 + 1..]].concat();
        for broken in [&whole[..1000], &whole[..whole.len() - 40], &[], &flipped] {
            fs::write(&path, broken).unwrap();
            assert_eq!(open().path(), path);
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn who_converts_at_once_does_not_write_into_anothers_file() {
        let mut other = Recipe::new();
        let at = |name: &str| other.tensors.iter().position(|(known, _)| known == name).unwrap();
        let (one, two) = (at("blk.0.ffn_up.weight"), at("blk.1.ffn_up.weight"));
        (other.tensors[one].0, other.tensors[two].0) =
            ("blk.1.ffn_up.weight".into(), "blk.0.ffn_up.weight".into());
        let sources = [Recipe::new().write(), other.write()];
        let convert = |source: &Path, folder: &Path| {
            let converted = prepared(Gguf::open(source).unwrap(), Some(folder));
            assert!(converted.path().starts_with(folder), "it fell back on {}", source.display());
            fs::read(converted.path()).unwrap()
        };
        let alone = sources.each_ref().map(|source| {
            let folder = tempfile::tempdir().unwrap();
            convert(&source.path, folder.path())
        });
        assert_ne!(alone[0], alone[1]);
        for round in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                // Two of each: the same model may be loaded twice, too.
                for (source, alone) in sources.iter().zip(&alone).cycle().take(4) {
                    let (start, folder) = (&start, folder.path());
                    scope.spawn(move || {
                        start.wait();
                        assert!(convert(&source.path, folder) == *alone, "round {round}");
                    });
                }
            });
            assert_eq!(files(folder.path()).len(), 2, "nothing is left over");
        }
    }

    #[test]
    fn what_a_killed_process_left_goes() {
        let source = Recipe::new().write();
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = [".4711.part", ".00ff.part"].map(|name| folder.path().join(name));
        for path in [&old, &new] {
            fs::write(path, b"half").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * LEFT_AFTER;
        File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        prepared(Gguf::open(&source.path).unwrap(), Some(folder.path()));
        assert!(!old.exists() && new.exists(), "another process may be at the newer one");
    }

    #[test]
    fn a_changed_source_is_converted_anew_and_old_copies_go() {
        let folder = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - 2 * LEFT_AFTER;
        let others =
            ["my-model.gguf", "face.gguf", "big.gguf.part", ".part"].map(|name| folder.path().join(name));
        for path in &others {
            File::create(path).unwrap().set_modified(long_ago).unwrap();
        }
        for seed in 0..6 {
            let source = Recipe::new().set("general.name", Value::String(format!("model {seed}"))).write();
            prepared(Gguf::open(&source.path).unwrap(), Some(folder.path()));
        }
        assert!(others.iter().all(|path| path.exists()), "somebody else's");
        assert_eq!(files(folder.path()).len(), MAX_KEPT + others.len());
    }

    #[test]
    fn without_a_cache_the_source_itself_is_used() {
        let source = Recipe::new().write();
        let file = tempfile::NamedTempFile::new().unwrap();
        let used = prepared(Gguf::open(&source.path).unwrap(), Some(&file.path().join("folder")));
        assert_eq!(used.path(), source.path);
    }
}
