//! Lanes: pipes for parcels beside descriptors, which tell when there is one. So nobody ever waits at a lane.

use super::parcel::Parcel;
use crate::channel::{Connection, ring};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::object::Object;
use crate::os::clock::Deadline;
use crate::queue::ring::{Got, Message};

/// One end of a [`lane`]; what becomes of it when somebody dies is as for the crate's [`Connection`](crate::Connection).
#[derive(Clone, Debug)]
pub struct LaneEnd(Connection<(), ()>);

/// Two ends, with room for so many parcels on their way to each; where it is not `duplex`, to the first only.
///
/// # Errors
///
/// As for [`pipe_bounded`](crate::pipe_bounded).
pub fn lane(capacity: usize, duplex: bool) -> Result<(LaneEnd, LaneEnd)> {
    let there = ring(capacity)?;
    let back = duplex.then(|| ring(capacity)).transpose()?;
    Ok((
        LaneEnd(Connection::between(Some(there.clone()), back.clone())?),
        LaneEnd(Connection::between(back, Some(there))?),
    ))
}

impl LaneEnd {
    /// Whether it seems that a parcel could be sent.
    pub fn has_room(&self) -> bool {
        let [_, outbox] = self.0.rings();
        outbox.is_some_and(|outbox| !outbox.is_full() && !outbox.is_closed())
    }

    /// Sends a parcel if there is room, and somebody to receive it; else gives it back.
    pub fn send(&self, parcel: Parcel) -> Result<(), Parcel> {
        let [_, Some(outbox)] = self.0.rings() else {
            return Err(parcel);
        };
        let mut message = Message::Block(Some(parcel.0));
        match (outbox.put(&mut message, Deadline::Now), message) {
            (Err(_), Message::Block(Some(block))) => Err(Parcel(block)),
            _ => Ok(()),
        }
    }

    /// Receives the next parcel, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], [`Error::Closed`].
    pub fn receive(&self) -> Result<Parcel> {
        let [inbox, _] = self.0.rings();
        match inbox.ok_or(Error::Closed)?.get(&mut Vec::new(), Deadline::Now)? {
            Got::Block(block) => Ok(Parcel(block)),
            Got::Inline(_) => unreachable!("nothing but parcels is sent"),
        }
    }

    /// Lets nothing more in, in either direction, for everybody and for good. What is on its way arrives.
    pub fn shut(&self) {
        let rings = self.0.rings().into_iter().flatten();
        for ring in rings.filter(|ring| !ring.is_closed()) {
            // It is discarding what could fail.
            let _ = ring.shutdown(false);
        }
    }

    /// Whether nothing is on its way to this end.
    pub fn is_empty(&self) -> bool {
        let [inbox, _] = self.0.rings();
        inbox.is_none_or(|inbox| inbox.len() == 0)
    }

    pub(super) fn object(&self) -> &Object {
        self.0.object()
    }

    pub(super) fn from_object(heap: &'static Heap, object: Object) -> Result<Self> {
        Connection::from_object(heap, object).map(Self)
    }
}

pub(super) fn number() -> u64 {
    Connection::<(), ()>::number()
}
