//! A file that may hold what people wrote: who may read it.
//!
//! One that is made here is its owner's alone. One that is there already may have been made for others on purpose, and its mode
//! tells: that everybody may read it is what a shell leaves (`umask 022`), and nobody's purpose, so it becomes its owner's alone;
//! that a group may and others may not is somebody's doing, for a program that carries lines on, say, and stays. Whatever is no
//! plain file, or is reached by a link (`/dev/stderr`), is somebody else's business, and left alone; so is a file of another
//! user's, whose mode the system does not let us change. Elsewhere than on Unix there are no modes, and the folder decides.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

/// Opens that file to write at its end, or makes it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, modes::OWNER);
    let file = options.open(path)?;
    #[cfg(unix)]
    modes::narrow(&file, path);
    Ok(file)
}

/// Opens it anew, after its like was renamed: for the same group.
pub(super) fn reopen(path: &Path, before: &File) -> io::Result<File> {
    let file = open(path)?;
    #[cfg(unix)]
    modes::inherit(&file, before);
    #[cfg(not(unix))]
    let _ = before;
    Ok(file)
}

#[cfg(unix)]
mod modes {
    use std::{
        fs::{self, File, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt, fchown},
        path::Path,
    };

    /// For its owner to read and write.
    pub(super) const OWNER: u32 = 0o600;
    const GROUP: u32 = 0o060;
    const OTHERS: u32 = 0o007;

    pub(super) fn narrow(file: &File, path: &Path) {
        let is_plain = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
        if is_plain && file.metadata().is_ok_and(|opened| opened.mode() & OTHERS != 0) {
            set(file, OWNER);
        }
    }

    pub(super) fn inherit(file: &File, before: &File) {
        let (Ok(new), Ok(old)) = (file.metadata(), before.metadata()) else { return };
        let is_for_a_group = old.is_file() && old.mode() & OTHERS == 0 && old.mode() & GROUP != 0;
        // A file just made may be another group's, which is not to read it.
        if is_for_a_group && (new.gid() == old.gid() || fchown(file, None, Some(old.gid())).is_ok()) {
            set(file, OWNER | old.mode() & GROUP);
        }
    }

    /// Where the file is ours and its file system has modes: otherwise it stays what it is.
    fn set(file: &File, mode: u32) {
        let _ = file.set_permissions(Permissions::from_mode(mode));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    #[test]
    fn what_everybody_may_read_becomes_its_owners_and_what_a_group_may_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines");
        drop(open(&path).expect("made"));
        assert_eq!(mode(&path), 0o600);
        let old = folder.path().join("lines.1");
        for (before, after) in [
            (0o600, 0o600),
            (0o640, 0o640),
            (0o660, 0o660),
            (0o644, 0o600),
            (0o664, 0o600),
            (0o666, 0o600),
            (0o602, 0o600),
            (0o777, 0o600),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(before)).expect("ours");
            let file = open(&path).expect("there");
            assert_eq!(mode(&path), after, "{before:o}");
            fs::rename(&path, &old).expect("renamed");
            drop(reopen(&path, &file).expect("made"));
            assert_eq!((mode(&path), mode(&old)), (after, after), "{before:o}, begun anew");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("log"), folder.path().join("stderr"));
        drop(open(&path).expect("made"));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("ours");
        symlink(&path, &link).expect("made");
        let device = Path::new("/dev/null");
        let before = mode(device);
        for (path, mode_before) in [(link.as_path(), 0o644), (device, before)] {
            let file = open(path).expect("there");
            assert_eq!(mode(path), mode_before, "{}", path.display());
            let fresh = folder.path().join("fresh");
            drop(reopen(&fresh, &file).expect("made"));
            assert_eq!(mode(&fresh), 0o600, "after {}", path.display());
            fs::remove_file(fresh).expect("there");
        }
    }
}
