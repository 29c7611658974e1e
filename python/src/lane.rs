//! The shared memory beside a pipe: large messages go through it, and the descriptor carries but a note of them.
//!
//! The descriptor stays the truth about order, readiness and the end. A note is a frame whose length no message can have:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0 to 3 | -1, as before every length of eight bytes |
//! | 4 to 11 | [`MARK`] and the place of the message's parcel |
//!
//! | step of who sends | if it dies behind it, or is broken off |
//! | --- | --- |
//! | the parcel is made and filled | it goes with the process |
//! | it is sent through the lane, if there is room without waiting | whoever receives the next one sets it aside |
//! | the note is written to the descriptor | the message is there |
//!
//! Who finds a note takes parcels out of the lane until it has the one the note speaks of. It is there, because it was there
//! before the note. Those before it belong to notes that come later (of threads whose writing crossed) or never.
//!
//! Where there is no room, no memory, or nobody at the other end of the lane, the message goes through the descriptor as ever.
//! So it does once somebody has asked for the descriptor, or has sent it to where the lane may not lead: the lane is shut
//! then, for both ends, and what is written from then on is what anybody understands who has the descriptor.

use crate::buffer;
use crate::carry::{self, Ticket};
use procession::door::{Handle, LaneEnd, Parcel, Sort, lane};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Marks a place where otherwise a length is.
pub const MARK: u64 = 1 << 63;
/// Bytes of a note.
pub const NOTE: usize = 12;
/// Messages smaller than this are as quick through the descriptor.
pub const LEAST: usize = 32 << 10;
/// Larger ones go through the descriptor bit by bit, and take no memory meanwhile.
const MOST: usize = 16 << 20;
/// Messages that wait in each direction.
const ROOM: usize = 4;
/// Parcels kept for notes that may still come; more threads than this do not cross.
const ASIDE: usize = 16;

/// One end of a lane.
#[pyclass(frozen, module = "procession._engine")]
pub struct Lane {
    end: LaneEnd,
    /// What was received before its note was.
    aside: Mutex<Vec<Parcel>>,
}

impl Lane {
    fn at(end: LaneEnd) -> Self {
        let aside = Mutex::default();
        Self { end, aside }
    }

    /// The ends of a new one, if it can be had; see [`lane`].
    pub fn pair(duplex: bool) -> Option<(Self, Self)> {
        let (one, other) = lane(ROOM, duplex).ok()?;
        Some((Self::at(one), Self::at(other)))
    }

    /// Sends a message, which consists of `parts` of `len` bytes together, if that can be done at once; the note to write.
    ///
    /// # Safety
    ///
    /// The parts may be read, and stay where they are, until this returns.
    #[allow(unsafe_code)]
    pub unsafe fn send(&self, py: Python<'_>, parts: &[*const [u8]], len: usize) -> Option<[u8; NOTE]> {
        if !(LEAST..=MOST).contains(&len) || !self.end.has_room() {
            return None;
        }
        let mut parcel = Parcel::new(len, &[]).ok()?;
        let mut at = 0;
        for &part in parts {
            let to = &mut parcel[at..at + part.len()];
            // SAFETY: the caller's promise; the parcel is new, and ours.
            unsafe { buffer::copy_lent(py, part, to.as_mut_ptr(), to.len()) };
            at += part.len();
        }
        let place = parcel.place();
        self.end.send(parcel).ok()?;
        let mut note = [0xFF; NOTE];
        note[4..].copy_from_slice(&(MARK | place).to_be_bytes());
        Some(note)
    }

    /// The parcel at `place`, of which a note was read.
    pub fn receive(&self, place: u64) -> PyResult<Parcel> {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = aside.iter().position(|parcel| parcel.place() == place) {
            return Ok(aside.remove(i));
        }
        while let Ok(parcel) = self.end.receive() {
            if parcel.place() == place {
                return Ok(parcel);
            }
            if aside.len() == ASIDE {
                aside.remove(0);
            }
            aside.push(parcel);
        }
        Err(PyOSError::new_err(
            "another process received the message's contents: who shares an end of a pipe must take turns",
        ))
    }
}

#[pymethods]
impl Lane {
    /// Let nothing more in, in either direction.
    pub fn shut(&self) {
        self.end.shut();
    }

    /// Whether nothing is on its way to this end.
    fn is_empty(&self) -> bool {
        let aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        aside.is_empty() && self.end.is_empty()
    }

    fn _ticket(&self) -> Ticket {
        carry::ticket(Handle::from(&self.end))
    }

    /// The end that a ticket stands for, if it is of this program and somebody has kept it.
    #[staticmethod]
    fn _redeem(ticket: Ticket) -> Option<Self> {
        let handle = carry::redeem(&ticket, Sort::LaneEnd).ok()?;
        Some(Self::at(handle.try_into().ok()?))
    }

    /// Whether a ticket written now is sure to arrive, and within the program.
    #[staticmethod]
    fn _can_travel() -> bool {
        carry::can_carry()
    }
}
