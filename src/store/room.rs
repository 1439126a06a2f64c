//! Whether a directory's file system has room for what its files may still grow by.

use std::path::Path;

/// With so much room nobody looks further.
const AMPLE: u64 = 128 << 20;

/// Whether all that is written to the files of `directory` has room: they are made in their full length, and the system takes
/// blocks for them as they are filled. A file system that does not say is taken to have it. Costs one system call while there is
/// much, and one more for each file when there is little.
pub(super) fn has_room(directory: &Path) -> bool {
    system::free(directory).is_none_or(|free| free >= AMPLE || free >= system::missing(directory))
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    /// The unit in which the system counts blocks (stat(2)).
    const BLOCK: u64 = 512;

    /// Bytes that this process may still take.
    pub(super) fn free(directory: &Path) -> Option<u64> {
        let system = rustix::fs::statvfs(directory).ok()?;
        Some(system.f_bavail.saturating_mul(system.f_frsize))
    }

    /// Bytes of the files that no block was taken for yet.
    pub(super) fn missing(directory: &Path) -> u64 {
        let Ok(files) = fs::read_dir(directory) else { return 0 };
        let files = files.flatten().filter_map(|file| file.metadata().ok());
        let files = files.filter(fs::Metadata::is_file);
        files.map(|file| file.len().saturating_sub(file.blocks().saturating_mul(BLOCK))).sum()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::Path;

    pub(super) fn free(_: &Path) -> Option<u64> {
        None
    }

    pub(super) fn missing(_: &Path) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_file_has_no_blocks_for_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(system::missing(directory.path()), 0);
        let mut file = File::create(directory.path().join("a")).unwrap();
        file.set_len(1 << 20).unwrap();
        assert_eq!(system::missing(directory.path()), 1 << 20);
        file.seek(SeekFrom::Start(1 << 19)).unwrap();
        file.write_all(&vec![1; 1 << 16]).unwrap();
        file.sync_all().unwrap();
        let missing = system::missing(directory.path());
        assert!(missing <= (1 << 20) - (1 << 16), "{missing}");
        assert!(has_room(directory.path()) && has_room(Path::new("/nowhere")));
    }
}
