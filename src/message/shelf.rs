//! A shelf for large bodies: a file in memory, from which the system sends them without a copy.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

/// How much of a body is given to the system in one go. 15 pages and a head make one segment of less than 64 KiB: of what is
/// longer, a congestion control that paces (BBR does) keeps a rest back for a timer, and a body of 128 KiB then takes 72 µs in
/// the place of 22. 2,000 URLs of 128 KiB take 23 µs each from here, and 36 from the process's own memory.
const AT_ONCE: usize = 60 << 10;

/// What the file ends at: further than can ever be shelved.
const END: u64 = 1 << 62;

/// A body takes whole pages. More than a usual page of any processor, and it takes too many.
const LARGEST_PAGE: u64 = 64 << 10;

fn too_large() -> io::Error {
    io::Error::other("the system's pages for files in memory are too large (shmem_enabled)")
}

/// A body that is all there: in the process's memory, or on a shelf.
#[derive(Clone, Copy, Debug)]
pub enum Whole<'a> {
    Bytes(&'a Bytes),
    Shelved(&'a Arc<Extent>),
}

/// A body of no bytes.
static EMPTY: Bytes = Bytes::new();

impl Whole<'static> {
    pub fn empty() -> Self {
        Self::Bytes(&EMPTY)
    }
}

impl Whole<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Shelved(extent) => extent.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes: shared, or read from the shelf. An error is the system's.
    pub fn read(&self) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(Bytes::clone(bytes)),
            Self::Shelved(extent) => extent.read(0, extent.len()),
        }
    }
}

/// A shelf, shared by all its clones and extents; the last one frees it.
///
/// It is one sparse file that has no name. No place in it is ever used twice: an extent that is dropped leaves a hole behind,
/// and the pages which the system is still sending live on until they are sent, as they were.
#[derive(Clone, Debug)]
pub struct Shelf(Arc<Space>);

#[derive(Debug)]
struct Space {
    file: File,
    page: u64,
    /// Where the next extent begins.
    next: AtomicU64,
    /// Whether the system was seen to use larger pages: then each body would be written in vain.
    is_closed: AtomicBool,
}

/// One body on a shelf. Immutable; its drop frees its pages.
#[derive(Debug)]
pub struct Extent {
    space: Arc<Space>,
    at: u64,
    length: usize,
}

impl Shelf {
    /// An empty shelf. An error where the system has none to give, or gives huge pages, or limits what may be written to files:
    /// to write more than that ends the process.
    pub fn open() -> io::Result<Self> {
        let file = system::open()?;
        file.set_len(END)?;
        let page = file.metadata()?.blksize();
        if page > LARGEST_PAGE {
            return Err(too_large());
        }
        let (next, is_closed) = (AtomicU64::new(page), AtomicBool::new(false));
        Ok(Self(Arc::new(Space { file, page, next, is_closed })))
    }

    /// Copies `bytes` to the shelf. An error where there is no memory, or where the system gives so large pages that two
    /// bodies would share one: a hole in the one that is dropped would be seen in the other, and on its way to clients. Then
    /// nothing more is put here.
    pub fn put(&self, bytes: &[u8]) -> io::Result<Extent> {
        let Space { file, page, next, is_closed } = &*self.0;
        if is_closed.load(Ordering::Relaxed) {
            return Err(too_large());
        }
        let taken = (bytes.len() as u64).next_multiple_of(*page);
        // A page between two extents stays empty, and tells by that whether they are apart.
        let at = next.fetch_add(taken + page, Ordering::Relaxed);
        let extent = Extent { space: self.0.clone(), at, length: bytes.len() };
        file.write_all_at(bytes, at)?;
        if system::holds(file, at - page)? || system::holds(file, at + taken)? {
            is_closed.store(true, Ordering::Relaxed);
            return Err(too_large());
        }
        Ok(extent)
    }
}

impl Extent {
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What it takes of the system's memory.
    pub fn weight(&self) -> usize {
        self.length.next_multiple_of(usize::try_from(self.space.page).unwrap_or(1))
    }

    /// A copy of `length` bytes from `at` on, or of as many as there are.
    pub fn read(&self, at: usize, length: usize) -> io::Result<Bytes> {
        let length = length.min(self.length.saturating_sub(at));
        system::read(&self.space.file, self.at + at as u64, length).map(Bytes::from)
    }

    /// Gives `head` to a socket that does not block, and behind it the body from `at` on: as much of both as it takes at
    /// once, and of the body no more than goes in one segment. Returns how much that is; `WouldBlock` where it is nothing.
    pub fn send_to(&self, socket: BorrowedFd<'_>, head: &[u8], at: usize) -> io::Result<usize> {
        let mut sent = 0;
        if !head.is_empty() {
            sent = system::send_first(socket, head)?;
            if sent < head.len() {
                return Ok(sent);
            }
        }
        let length = self.length.saturating_sub(at).min(AT_ONCE);
        match system::send_file(socket, &self.space.file, self.at + at as u64, length) {
            Ok(more) => Ok(sent + more),
            Err(_) if sent > 0 => Ok(sent),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        // Where it fails, the pages stay until the shelf goes: nobody can be told, and nothing is wrong but that.
        let _ = system::punch(&self.space.file, self.at, self.weight() as u64);
    }
}

/// What a shelf asks of Linux.
#[cfg(target_os = "linux")]
mod system {
    use std::fs::File;
    use std::io;
    use std::os::fd::BorrowedFd;

    use rustix::buffer::spare_capacity;
    use rustix::fs::{
        FallocateFlags, MemfdFlags, SeekFrom, fallocate, memfd_create, seek, sendfile,
    };
    use rustix::io::{Errno, pread};
    use rustix::net::{SendFlags, send};
    use rustix::process::{Resource, getrlimit};

    pub(super) fn open() -> io::Result<File> {
        if getrlimit(Resource::Fsize).current.is_some() {
            return Err(io::Error::other("the size of files is limited (RLIMIT_FSIZE)"));
        }
        Ok(memfd_create("larder", MemfdFlags::CLOEXEC)?.into())
    }

    /// Whether there is a page at `at`, and not a hole.
    pub(super) fn holds(file: &File, at: u64) -> io::Result<bool> {
        match seek(file, SeekFrom::Data(at)) {
            Ok(found) => Ok(found == at),
            Err(Errno::NXIO) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads just so many bytes; nothing is written to the memory before.
    pub(super) fn read(file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = at + bytes.len() as u64;
            match pread(file, spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    pub(super) fn punch(file: &File, at: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(file, flags, at, length).map_err(io::Error::from)
    }

    /// Sends what more follows.
    pub(super) fn send_first(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::MORE | SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        send(socket, bytes, flags).map_err(io::Error::from)
    }

    pub(super) fn send_file(
        socket: BorrowedFd<'_>,
        file: &File,
        mut at: u64,
        length: usize,
    ) -> io::Result<usize> {
        sendfile(socket, file, Some(&mut at), length).map_err(io::Error::from)
    }
}

/// Other systems have no shelves.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::File;
    use std::io;
    use std::os::fd::BorrowedFd;

    pub(super) fn open() -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn holds(_: &File, _: u64) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn read(_: &File, _: u64, _: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn punch(_: &File, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn send_first(_: BorrowedFd<'_>, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn send_file(_: BorrowedFd<'_>, _: &File, _: u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::thread;

    use super::*;

    fn pattern(seed: usize, length: usize) -> Vec<u8> {
        (0..length).map(|at| (at ^ (at >> 8) ^ seed.wrapping_mul(31)).to_le_bytes()[0]).collect()
    }

    /// A shelf; nothing where this machine has huge pages for it.
    fn open() -> Option<Shelf> {
        let setting = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
        let setting = std::fs::read_to_string(setting).unwrap_or_default();
        let are_huge =
            ["[always]", "[within_size]", "[force]"].iter().any(|it| setting.contains(it));
        let opened = Shelf::open();
        assert_eq!(opened.is_err(), are_huge, "{opened:?}, where the system says {setting}");
        opened.ok()
    }

    /// What the system holds for a shelf, in bytes.
    fn held(shelf: &Shelf) -> u64 {
        shelf.0.file.metadata().unwrap().blocks() * 512
    }

    /// A socket that does not block, and its other end.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    #[test]
    fn what_was_put_is_read_whole_and_in_parts_whatever_its_length() {
        let Some(shelf) = open() else { return };
        for length in [0, 1, 4095, 4096, 4097, 100_000] {
            let body = pattern(length, length);
            let extent = shelf.put(&body).unwrap();
            assert_eq!((extent.len(), extent.is_empty()), (length, length == 0));
            let extent = Arc::new(extent);
            assert_eq!(Whole::Shelved(&extent).read().unwrap(), body);
            for (at, wanted) in
                [(0, 1), (1, 5000), (length / 2, length), (length, 1), (length + 1, 1)]
            {
                let end = (at + wanted).min(length);
                assert_eq!(
                    extent.read(at, wanted).unwrap(),
                    body[at.min(end)..end],
                    "{at} of {length}"
                );
            }
        }
    }

    #[test]
    fn a_drop_frees_what_a_body_took_and_nothing_of_its_neighbours() {
        let Some(shelf) = open() else { return };
        let bodies: Vec<_> = (0..9).map(|seed| pattern(seed, 40_000 + seed)).collect();
        let mut extents: Vec<_> =
            bodies.iter().map(|body| Some(shelf.put(body).unwrap())).collect();
        let all = extents.iter().flatten().map(|extent| extent.weight() as u64).sum::<u64>();
        assert_eq!(held(&shelf), all);
        for gone in [4, 0, 8, 3] {
            extents[gone] = None;
            for (extent, body) in extents.iter().zip(&bodies) {
                assert!(
                    extent
                        .as_ref()
                        .is_none_or(|extent| extent.read(0, usize::MAX).unwrap() == body)
                );
            }
        }
        assert_eq!(held(&shelf), all / 9 * 5);
        extents.clear();
        assert_eq!(held(&shelf), 0);
    }

    #[test]
    fn head_and_body_come_in_order_however_little_the_socket_takes() {
        let Some(shelf) = open() else { return };
        let (body, head) = (pattern(7, 5_000_001), b"a head");
        let extent = shelf.put(&body).unwrap();
        let (ours, mut theirs) = pair();
        let all = head.len() + body.len();
        let reader = thread::spawn(move || {
            let mut came = Vec::new();
            theirs.read_to_end(&mut came).unwrap();
            came
        });
        let (mut sent, mut refused) = (0, 0);
        while sent < all {
            let head_left = head.get(sent..).unwrap_or_default();
            match extent.send_to(ours.as_fd(), head_left, sent.saturating_sub(head.len())) {
                Ok(more) => {
                    assert!(more > 0 && more <= head_left.len() + AT_ONCE);
                    sent += more;
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    refused += 1;
                    thread::yield_now();
                }
            }
        }
        drop(ours);
        assert!(reader.join().unwrap() == [&head[..], &body].concat(), "after {refused} refusals");
    }

    #[test]
    fn what_was_given_to_a_socket_arrives_though_its_body_is_gone_and_others_came() {
        let Some(shelf) = open() else { return };
        let body = pattern(1, 200_000);
        let extent = shelf.put(&body).unwrap();
        let (ours, mut theirs) = pair();
        let mut sent = 0;
        while let Ok(more) = extent.send_to(ours.as_fd(), b"", sent) {
            sent += more;
            if sent == body.len() {
                break;
            }
        }
        drop(extent);
        assert_eq!(held(&shelf), 0, "what is on its way is no part of the shelf any more");
        let others: Vec<_> =
            (2..9).map(|seed| shelf.put(&pattern(seed, 200_000)).unwrap()).collect();
        drop(ours);
        let mut came = Vec::new();
        theirs.read_to_end(&mut came).unwrap();
        assert!(sent > 0 && came == body[..sent], "{sent} of {}", body.len());
        drop(others);
    }

    #[test]
    fn who_has_left_is_an_error_and_ends_nobody() {
        let Some(shelf) = open() else { return };
        let extent = shelf.put(&pattern(1, 100_000)).unwrap();
        let (ours, theirs) = pair();
        drop(theirs);
        let failed = (0..1000).find_map(|_| {
            let sent = extent.send_to(ours.as_fd(), b"head", 0);
            sent.err().filter(|error| error.kind() != io::ErrorKind::WouldBlock)
        });
        assert!(failed.is_some());
    }

    #[test]
    fn threads_that_put_and_drop_at_once_see_their_own_bytes_and_leave_nothing_behind() {
        let Some(shelf) = open() else { return };
        thread::scope(|scope| {
            for number in 0..4 {
                let shelf = &shelf;
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for turn in 0..200 {
                        let body = pattern(number * 1000 + turn, 30_000 + 97 * turn);
                        kept.push((shelf.put(&body).unwrap(), body));
                        if kept.len() > 5 {
                            kept.swap_remove(turn % 5);
                        }
                        assert!(
                            kept.iter()
                                .all(|(extent, body)| extent.read(0, usize::MAX).unwrap() == body)
                        );
                    }
                });
            }
        });
        assert_eq!(held(&shelf), 0);
    }
}
