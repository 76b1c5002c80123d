//! A folder of templates, compiled anew when a file in it changes.
//!
//! `greet.hbs` is the template `greet`, `mail/reply.hbs` is `mail/reply`. Changes are found by looking (size and time of every
//! file), which works on every file system and in every container; a change that does not compile leaves the old set in use
//! and is told. Files that a link leads to outside the folder are refused, hidden ones are not looked at.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

use super::{TemplateError, TemplateErrorKind as Kind, Templates, TemplatesBuilder};

/// The ending of a template's file.
pub const EXTENSION: &str = "hbs";
/// Deepest folder below the root.
const MAX_FOLDERS: usize = 16;
/// Most entries that one look goes over, whatever they are: links within the folder can lead to it again and again.
const MAX_ENTRIES: usize = 65_536;

/// A folder's templates, as they are now.
pub struct TemplateDirectory {
    root: PathBuf,
    /// Helpers and limits, without templates.
    like: TemplatesBuilder,
    current: ArcSwap<Templates>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// `None` where the last look did not see them all: the next one reads them, even if they are as they were before.
    files: Option<BTreeMap<String, Stamp>>,
    error: Option<Arc<TemplateError>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl TemplateDirectory {
    /// Reads and compiles every template of the folder.
    ///
    /// # Errors
    /// A file cannot be read or compiled.
    pub fn open(root: impl Into<PathBuf>, like: TemplatesBuilder) -> Result<Self, TemplateError> {
        let root: PathBuf = root.into();
        let files = list(&root, &like)?;
        let current = compile(&files, &like)?;
        let seen = Mutex::new(Seen { files: Some(files), error: None });
        Ok(Self { root, like, current: ArcSwap::from_pointee(current), seen })
    }

    /// The set in use: one atomic load and one count.
    pub fn current(&self) -> Arc<Templates> {
        self.current.load_full()
    }

    /// Looks for changes and compiles the folder anew if there are any. `true` where the set has changed. Some microseconds a
    /// file: for [`watch`](Self::watch) or a timer, not for every request.
    ///
    /// # Errors
    /// The folder as it is now cannot be read or compiled; the set in use stays.
    pub fn refresh(&self) -> Result<bool, Arc<TemplateError>> {
        // One look at a time; a second one would find the same.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = list(&self.root, &self.like).map_err(|error| (None, error)).and_then(|files| {
            if seen.files.as_ref() == Some(&files) {
                return Ok(None);
            }
            match compile(&files, &self.like) {
                Ok(templates) => Ok(Some((files, templates))),
                // What could not be read today can be tomorrow, without a change in the file.
                Err(error) => Err(((error.kind() != Kind::File).then_some(files), error)),
            }
        });
        match looked {
            Ok(None) => seen.error.clone().map_or(Ok(false), Err),
            Ok(Some((files, templates))) => {
                (seen.files, seen.error) = (Some(files), None);
                let has_changed = templates.hash() != self.current.load().hash();
                if has_changed {
                    self.current.store(Arc::new(templates));
                }
                Ok(has_changed)
            }
            Err((files, error)) => {
                let error = Arc::new(error);
                (seen.files, seen.error) = (files, Some(Arc::clone(&error)));
                Err(error)
            }
        }
    }

    /// What is wrong with the folder as it was found last.
    pub fn last_error(&self) -> Option<Arc<TemplateError>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).error.clone()
    }

    /// Looks for changes in a thread of its own, until the guard is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn watch(self: &Arc<Self>, every: Duration) -> io::Result<Watch> {
        let stop = Arc::new(AtomicBool::new(false));
        let (directory, stopped) = (Arc::clone(self), Arc::clone(&stop));
        let every = every.max(Duration::from_millis(10));
        let thread = thread::Builder::new().name("loquat-templates".into()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                thread::park_timeout(every);
                // Kept in `last_error` for whoever asks.
                let _ = directory.refresh();
            }
        })?;
        Ok(Watch { stop, thread: Some(thread) })
    }
}

impl fmt::Debug for TemplateDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemplateDirectory").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Ends the watching when dropped.
#[derive(Debug)]
#[must_use]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn list(root: &Path, like: &TemplatesBuilder) -> Result<BTreeMap<String, Stamp>, TemplateError> {
    let wrong = |path: &Path, error| TemplateError::file(path, "cannot be read", error);
    let real_root = fs::canonicalize(root).map_err(|error| wrong(root, error))?;
    let mut files = BTreeMap::new();
    let mut folders = vec![(root.to_owned(), String::new(), 0_usize)];
    let mut entries = 0;
    while let Some((folder, prefix, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| wrong(&folder, error))? {
            let path = entry.map_err(|error| wrong(&folder, error))?.path();
            entries += 1;
            if entries > MAX_ENTRIES {
                let what = format!("more than {MAX_ENTRIES} entries");
                return Err(TemplateError::new(Kind::TooLarge, root.display().to_string(), what));
            }
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with('.') {
                continue;
            }
            // A file that has just gone is a change like any other; the next look sees it whole.
            let Ok(real) = fs::canonicalize(&path) else { continue };
            let Ok(metadata) = fs::metadata(&real) else { continue };
            if !real.starts_with(&real_root) {
                let what = "a link that leads out of the folder";
                return Err(TemplateError::new(Kind::File, path.display().to_string(), what));
            }
            if metadata.is_dir() {
                if depth >= MAX_FOLDERS {
                    let what = format!("more than {MAX_FOLDERS} folders deep");
                    return Err(TemplateError::new(Kind::TooLarge, path.display().to_string(), what));
                }
                folders.push((path.clone(), format!("{prefix}{name}/"), depth + 1));
            } else if let Some(stem) = name.strip_suffix(EXTENSION).and_then(|stem| stem.strip_suffix('.')) {
                // To open a pipe waits for who writes into it.
                if !metadata.is_file() {
                    return Err(TemplateError::new(Kind::File, path.display().to_string(), "is no file"));
                }
                let stamp =
                    Stamp { path: path.clone(), bytes: metadata.len(), modified: metadata.modified().ok() };
                files.insert(format!("{prefix}{stem}"), stamp);
                if files.len() > like.limits_now().max_templates {
                    let what =
                        format!("more than {} templates (max_templates)", like.limits_now().max_templates);
                    return Err(TemplateError::new(Kind::TooLarge, root.display().to_string(), what));
                }
            }
        }
    }
    Ok(files)
}

fn compile(files: &BTreeMap<String, Stamp>, like: &TemplatesBuilder) -> Result<Templates, TemplateError> {
    let limit = like.limits_now().max_source_bytes;
    let mut builder = like.clone();
    for (name, stamp) in files {
        let wrong = |error| TemplateError::file(&stamp.path, "cannot be read", error);
        let mut source = String::new();
        let file = fs::File::open(&stamp.path).map_err(wrong)?;
        // One byte more than allowed, so that the check that follows sees it.
        file.take(limit as u64 + 1).read_to_string(&mut source).map_err(wrong)?;
        builder = builder.file(name.clone(), source, stamp.path.clone());
    }
    builder.build()
}
