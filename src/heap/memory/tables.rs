//! Memory for the table of chunks and the process table, as far as they are used.

use super::heap::Heap;
use super::layout::{self, CHUNK, Chunk, Off, ProcessEntry, header};
use crate::error::Result;
use crate::wait::atomic::Ordering;

impl Heap {
    /// Makes a table exist up to its byte `end`, in steps. The header word `known` says how far the table exists;
    /// `part` gives the offset of a byte of the table, and the byte up to which it is contiguous there.
    fn extend_table(&self, end: u64, known: Off, part: impl Fn(u64) -> (Off, u64)) -> Result<()> {
        let step = end.next_multiple_of(CHUNK);
        let have = self.word(known).load(Ordering::Acquire);
        if have < step {
            let mut done = have;
            while done < step {
                let (off, until) = part(done);
                let next = until.min(step);
                self.commit_at(off, next - done)?;
                done = next;
            }
            self.transact(|tx| {
                tx.set(known, tx.get(known).max(step));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Makes the descriptors of the first `count` chunks exist.
    pub(in crate::heap) fn describe(&self, count: u64) -> Result<()> {
        let end = count * size_of::<Chunk>() as u64;
        self.extend_table(end, header!(described), layout::descriptors_part)
    }

    /// Makes the first `count` entries of the process table exist.
    pub(in crate::heap) fn enlarge_table(&self, count: u64) -> Result<()> {
        let end = count * size_of::<ProcessEntry>() as u64;
        self.extend_table(end, header!(tabled), layout::table_part)
    }
}
