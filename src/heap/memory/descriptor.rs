//! The heap's descriptor, and how a child gets the heap.
//!
//! The heap is a file without a name. A program that closes all its descriptors also closes the heap's. The heap goes
//! on working, because it is mapped; only a child that does not inherit the mapping needs the descriptor. Then the
//! file is opened again through the mapping or through another process of the program, if the system permits.

use super::heap::Heap;
use super::layout::{self, header, state};
use super::source::HeapFile;
use super::steady::steady;
use crate::error::Result;
use crate::os;
use crate::os::kept::{Identity, Kept, open_same};
use crate::os::memory;
use crate::wait::atomic::Ordering;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

/// The description of the descriptor, for the error that says it is lost.
const WHAT: &str = "Procession's shared memory; no other process can be asked for it, so only forked children can join the program";

/// What a child must be told to get the heap: a descriptor that it must inherit, or (negative) a segment's number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'h>(Result<BorrowedFd<'h>, i32>);

impl Told<'_> {
    /// Returns the number to tell the child.
    pub(crate) fn number(self) -> RawFd {
        match self.0 {
            Ok(fd) => fd.as_raw_fd(),
            Err(segment) => !segment,
        }
    }
}

impl Heap {
    /// Returns what a child must be told to get the heap, checked to be the heap and nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::DescriptorLost`](crate::Error::DescriptorLost) if the program closed the descriptor and it cannot
    /// be opened again.
    pub(crate) fn descriptor(&self) -> Result<Told<'_>> {
        match &self.source {
            HeapFile::File(kept) => self.find(kept).map(|fd| Told(Ok(fd))),
            HeapFile::Segment(number) => Ok(Told(Err(*number))),
        }
    }

    /// Takes over what this child was told although it has the heap already: it may have lost its own descriptor,
    /// and needs no second one.
    pub(crate) fn adopt_descriptor(&self, told: RawFd) -> Result<()> {
        let HeapFile::File(kept) = &self.source else {
            return Ok(());
        };
        if kept.get().is_some_and(|ours| ours.as_raw_fd() == told) {
            return Ok(());
        }
        let fd = os::descriptor::inherited(told)?;
        if kept.get().is_none() && Identity::of(fd.as_fd())? == kept.identity() {
            kept.keep(fd);
        }
        Ok(())
    }

    /// Returns the descriptor, opened again if the program has closed it.
    fn find<'k>(&self, kept: &'k Kept) -> Result<BorrowedFd<'k>> {
        static FINDING: Mutex<()> = Mutex::new(());
        if let Some(fd) = kept.get() {
            return Ok(fd);
        }
        // A child that was forked in the middle would inherit the mutex locked for ever.
        let _steady = steady();
        let _finding = FINDING.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.get().is_none()
            && let Some(found) = self.own_again(kept).or_else(|| self.anothers(kept))
        {
            kept.keep(found);
        }
        kept.get_or_lost(WHAT)
    }

    /// Opens the file again through the mapping, which only a privileged process may do.
    fn own_again(&self, kept: &Kept) -> Option<OwnedFd> {
        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        let here = self.base.addr();
        let range = maps.lines().find_map(|line| {
            let range = line.split(' ').next()?;
            let (start, end) = range.split_once('-')?;
            let inside = usize::from_str_radix(start, 16).ok()? <= here
                && here < usize::from_str_radix(end, 16).ok()?;
            inside.then_some(range)
        })?;
        open_same(kept.identity(), &format!("/proc/self/map_files/{range}"))
    }

    /// Opens the file again through another process of the program.
    fn anothers(&self, kept: &Kept) -> Option<OwnedFd> {
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        let others = (0..top).filter_map(|index| {
            let entry = self.entry(index);
            let lives = entry.state.load(Ordering::Acquire) == state::LIVE;
            let pid = entry.pid.load(Ordering::Relaxed) as u32;
            (lives && pid != 0 && pid != os::pid::own()).then_some(pid)
        });
        others.into_iter().find_map(|pid| {
            let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
            folder
                .flatten()
                .find_map(|entry| open_same(kept.identity(), entry.path().to_str()?))
        })
    }

    /// Returns the file on which the lives of processes are witnessed: that of the heap or, if the heap has none,
    /// an empty file.
    fn lives(&self) -> &Kept {
        match &self.source {
            HeapFile::File(kept) => kept,
            HeapFile::Segment(_) => &self.lives,
        }
    }

    /// Makes that file, in the process that makes the heap.
    pub(in crate::heap) fn begin_lives(&self) {
        if let HeapFile::Segment(_) = self.source
            && let Some(file) = os::witness::empty_file()
        {
            self.lives.keep(file);
        }
    }

    /// Opens that file, in a child that was started with the lock `claim` on it.
    pub(in crate::heap) fn join_lives(&self, claim: BorrowedFd<'_>) {
        if self.lives().get().is_none()
            && let Some(file) = os::witness::reopen(claim)
        {
            self.lives().keep(file);
        }
    }

    /// Returns whether `fd` is a descriptor of the file on which lives are witnessed.
    pub(crate) fn is_own(&self, fd: BorrowedFd<'_>) -> bool {
        Identity::of(fd).is_ok_and(|file| file == self.lives().identity())
    }

    /// Returns that file, to ask for locks; `None` if the program has closed it.
    pub(in crate::heap) fn witnesses(&self) -> Option<BorrowedFd<'_>> {
        self.lives().get()
    }

    /// Returns that file, opened again if the program has closed it.
    pub(in crate::heap) fn witnesses_again(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            HeapFile::File(kept) => self.find(kept).ok(),
            HeapFile::Segment(_) => self.lives.get(),
        }
    }

    /// Returns the bytes of shared memory that this program occupies now.
    pub(crate) fn resident(&self) -> Result<u64> {
        if let Some(file) = self.source.file() {
            return memory::file_occupies(file);
        }
        // A segment: as far as the heap's own words count it.
        let counted = [
            header!(used_bytes),
            header!(warm_bytes),
            header!(described),
            header!(tabled),
        ];
        let sum: u64 = counted
            .iter()
            .map(|&word| self.word(word).load(Ordering::Relaxed))
            .sum();
        Ok(sum + layout::CHUNK)
    }
}
