//! From a copied stack to names: the unwind tables of what is loaded, and the symbols of the files it was loaded from.
//!
//! It works without frame pointers and on stable Rust; the walk reads the copy alone, and never the running program. What is loaded is read from
//! `/proc/self/maps` once, at the first stack: a library loaded later shows as an address. Inlined functions show as part of
//! those they are in.

use std::{collections::BTreeMap, fs, ops::Range, sync::Arc};

use framehop::{
    ExplicitModuleSectionInfo, Module, Unwinder,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SymbolKind};

use super::{MAX_FRAMES, capture::Copy};

/// Largest file whose tables are read: far above any program, below what would hurt.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// What is loaded, and its symbols.
#[derive(Default)]
pub(super) struct Loaded {
    unwinder: UnwinderX86_64<Arc<[u8]>>,
    cache: CacheX86_64,
    files: Vec<File>,
}

struct File {
    name: Box<str>,
    mapped: Range<u64>,
    base: u64,
    /// By address in the file: the end, and the name as it is mangled.
    symbols: BTreeMap<u64, (u64, Box<str>)>,
}

impl Loaded {
    pub(super) fn read() -> Self {
        let mut loaded = Self::default();
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        for (path, ranges) in &code(&maps) {
            let _ = loaded.add(path, ranges); // what cannot be read shows as addresses
        }
        loaded
    }

    fn add(&mut self, path: &str, ranges: &[(Range<u64>, u64)]) -> Option<()> {
        let about = fs::metadata(path).ok()?;
        // A device may be mapped, too, and one to be read for ever.
        if !about.is_file() || about.len() > MAX_FILE_BYTES {
            return None;
        }
        let bytes = fs::read(path).ok()?;
        let object = object::File::parse(&*bytes).ok()?;
        let (first, offset) = ranges.first()?;
        let segment = object.segments().find(|segment| segment.file_range().0 & !4095 == *offset)?;
        let base = first.start.wrapping_sub(segment.address() & !4095);
        let mapped = first.start..ranges.last()?.0.end;
        let range = |name: &str| {
            let section = object.section_by_name(name)?;
            Some(section.address()..section.address().checked_add(section.size())?)
        };
        let data = |name: &str| Some(Arc::from(object.section_by_name(name)?.data().ok()?));
        let sections = ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: range(".text"),
            text: data(".text"),
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: data(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: data(".eh_frame_hdr"),
            ..ExplicitModuleSectionInfo::default()
        };
        self.unwinder.add_module(Module::new(path.to_owned(), mapped.clone(), base, sections));
        let symbols = object.symbols().chain(object.dynamic_symbols());
        let symbols = symbols.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
        let symbols = symbols.filter_map(|symbol| {
            let end = symbol.address().checked_add(symbol.size())?;
            Some((symbol.address(), (end, symbol.name().ok()?.into())))
        });
        let name = path.rsplit('/').next().unwrap_or(path).into();
        self.files.push(File { name, mapped, base, symbols: symbols.collect() });
        Some(())
    }

    /// The functions a thread is in, the innermost first.
    ///
    /// Empty where the unwinder panics: framehop 0.16 subtracts past zero for some words near 2^64, which a build that checks for
    /// overflow takes for a panic, and a watchdog must outlive that.
    pub(super) fn walk(&mut self, copy: &Copy) -> Vec<String> {
        let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.unwind(copy)));
        walked.unwrap_or_default()
    }

    fn unwind(&mut self, copy: &Copy) -> Vec<String> {
        let mut read = |address: u64| {
            let at = usize::try_from(address.checked_sub(copy.sp).ok_or(())?).map_err(drop)?;
            let bytes = copy.stack.get(at..at.checked_add(8).ok_or(())?).ok_or(())?;
            bytes.try_into().map(u64::from_le_bytes).map_err(drop)
        };
        let registers = UnwindRegsX86_64::new(copy.ip, copy.sp, copy.bp);
        let mut frames = self.unwinder.iter_frames(copy.ip, registers, &mut self.cache, &mut read);
        let mut addresses = Vec::new();
        while let Ok(Some(frame)) = frames.next()
            && addresses.len() < MAX_FRAMES
        {
            addresses.push(frame.address_for_lookup());
        }
        addresses.into_iter().map(|address| self.name(address)).collect()
    }

    /// A walk over registers and a stack made of arbitrary bytes, in which words become addresses of code where they are odd, or it
    /// would end at once. How many frames it came to.
    pub(super) fn walk_hostile(&mut self, input: &[u8]) -> usize {
        let mut words = input.chunks_exact(8).map(|word| {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            let files = self.files.len() as u64;
            let index = usize::try_from((word >> 1) % files.max(1)).unwrap_or(0);
            match self.files.get(index) {
                Some(file) if word & 1 == 1 => {
                    file.mapped.start + (word >> 8) % file.mapped.end.wrapping_sub(file.mapped.start).max(1)
                }
                _ => word,
            }
        });
        let mut next = || words.next().unwrap_or(0);
        let (ip, sp, bp) = (next(), next(), next());
        // Some frames are found by the frame pointer: it leads into the stack, or right beside it.
        let bp = if bp & 6 == 0 { sp.wrapping_add((bp >> 8) % 4096) } else { bp };
        let stack: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        let frames = self.walk(&Copy { ip, sp, bp, stack });
        assert!(frames.len() <= MAX_FRAMES, "more frames than there may be");
        frames.len()
    }

    /// The function at that address; the file's name and the place in it, or the number alone, where there is none.
    pub(super) fn name(&self, address: u64) -> String {
        let Some(file) = self.files.iter().find(|file| file.mapped.contains(&address)) else {
            return format!("{address:#x}");
        };
        let at = address.wrapping_sub(file.base);
        match file.symbols.range(..=at).next_back() {
            Some((_, (end, name))) if at < *end => format!("{:#}", rustc_demangle::demangle(name)),
            _ => format!("{}+{at:#x}", file.name),
        }
    }
}

/// Where a file is mapped, and from which offset in it on.
type Mappings = Vec<(Range<u64>, u64)>;

/// The files with code in them and all their mappings. Others, which may be data of any size, are not read.
fn code(maps: &str) -> BTreeMap<&str, Mappings> {
    let mut mapped: BTreeMap<&str, (bool, Mappings)> = BTreeMap::new();
    for (path, range, offset, is_code) in maps.lines().filter_map(mapping) {
        let (has_code, mappings) = mapped.entry(path).or_default();
        *has_code |= is_code;
        mappings.push((range, offset));
    }
    mapped.into_iter().filter_map(|(path, (has_code, all))| has_code.then_some((path, all))).collect()
}

/// A line of the list of what is mapped: path, addresses, offset in the file, and whether it is code.
fn mapping(line: &str) -> Option<(&str, Range<u64>, u64, bool)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let is_code = words.next()?.contains('x');
    let offset = number(words.next()?)?;
    let path = line.get(line.find('/')?..)?;
    Some((path, number(start)?..number(end)?, offset, is_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_map_good_and_bad() {
        let line = "7f00-7fff r-xp 00001000 08:01 42    /usr/lib/a b.so";
        assert_eq!(mapping(line), Some(("/usr/lib/a b.so", 0x7f00..0x7fff, 0x1000, true)));
        for bad in
            ["", "7f00 r-xp", "7f00-7fff r-xp 0 0:0 0", "x-y r-xp 0 0:0 0 /a", "7f00-7fff r-xp zz 0:0 0 /a"]
        {
            assert_eq!(mapping(bad), None, "{bad}");
        }
        let maps = "1000-2000 r--p 00000000 08:01 42 /bin/program\n\
            2000-3000 r-xp 00001000 08:01 42 /bin/program\n\
            5000-9000 rw-s 00000000 08:01 43 /data/weights.bin\n\
            9000-a000 rw-s 00000000 00:05 44 /dev/dri/renderD128\n\
            a000-b000 r-xp 00000000 00:00 0 [vdso]\n";
        let program = vec![(0x1000..0x2000, 0), (0x2000..0x3000, 0x1000)];
        assert_eq!(Vec::from_iter(code(maps)), [("/bin/program", program)], "no data, no device");
    }

    #[test]
    fn a_stack_that_makes_no_sense_ends() {
        let mut loaded = Loaded::read();
        let mut state = 1_u64;
        for length in 0..2000 {
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state >> 8
            };
            // Addresses of code among them, or it would end at once.
            let code = |number: u64| {
                let file = loaded.files.get(usize::try_from(number).unwrap_or(0) % loaded.files.len().max(1));
                file.map_or(number, |file| file.mapped.start + number % (file.mapped.end - file.mapped.start))
            };
            let stack: Vec<u8> = (0..length % 64).flat_map(|_| code(random()).to_le_bytes()).collect();
            let (ip, bp) = (code(random()), random());
            let copy = Copy { ip, sp: 0x7000_0000, bp, stack };
            assert!(loaded.walk(&copy).len() <= MAX_FRAMES);
        }
    }
}
