//! What a thread waits for at the event counts of a ring.

use super::get::Sink;
use super::put::OutgoingMessage;
use super::refused::Refused;
use super::ring::Ring;
use crate::error::{Error, Result};
use crate::heap::waiter::{Announced, Purpose};
use crate::os::clock::Deadline;
use crate::wait::event_count::{Ended, Wait};

/// Waits for room, to put a message.
pub(super) struct Putting<'r, 'm, 'b> {
    pub ring: &'r Ring,
    pub message: &'m mut OutgoingMessage<'b>,
    pub deadline: Deadline,
}

impl Wait for Putting<'_, '_, '_> {
    type Answer = Result<(), Refused>;
    type Announced = Announced<'static>;

    fn attempt(&mut self) -> Option<Self::Answer> {
        match self.ring.try_put(self.message, self.deadline) {
            Err(Refused::Full) => None,
            answer => Some(answer),
        }
    }

    fn is_ready(&self) -> bool {
        self.ring.is_writable()
    }

    fn announce(&self) -> Self::Announced {
        self.ring.announce(Purpose::Put)
    }

    fn on_idle(&self) {
        self.ring.sweep_dead_rate_limited();
    }
}

/// Waits for a message, to take it.
pub(super) struct Getting<'r, 's, S> {
    pub ring: &'r Ring,
    pub sink: &'s mut S,
    pub deadline: Deadline,
}

impl<S: Sink> Wait for Getting<'_, '_, S> {
    type Answer = Result<()>;
    type Announced = Announced<'static>;

    fn attempt(&mut self) -> Option<Self::Answer> {
        match self.ring.attempt_get(self.sink, self.deadline) {
            Err(Error::Empty) => None,
            answer => Some(answer),
        }
    }

    fn is_ready(&self) -> bool {
        self.ring.may_be_readable()
    }

    fn is_likely(&self) -> bool {
        self.ring.may_have_message()
    }

    fn announce(&self) -> Self::Announced {
        self.ring.announce(Purpose::Get)
    }

    fn on_idle(&self) {
        self.ring.heap().release_reserve();
        self.ring.sweep_dead_rate_limited();
    }
}

/// Waits for a message, and leaves it where it is.
pub(super) struct Readable<'r>(pub &'r Ring);

impl Wait for Readable<'_> {
    type Answer = ();
    type Announced = Announced<'static>;

    fn attempt(&mut self) -> Option<()> {
        // The exact answer, not the hint: only here the message of a producer that has just died is seen.
        self.0.is_readable().then_some(())
    }

    fn is_ready(&self) -> bool {
        self.0.may_be_readable()
    }

    fn is_likely(&self) -> bool {
        self.0.may_have_message()
    }

    fn announce(&self) -> Self::Announced {
        self.0.announce(Purpose::Wait)
    }

    fn on_idle(&self) {
        self.0.sweep_dead_rate_limited();
    }
}

/// Waits for room, and puts nothing.
pub(super) struct Writable<'r>(pub &'r Ring);

impl Wait for Writable<'_> {
    type Answer = ();
    type Announced = Announced<'static>;

    fn attempt(&mut self) -> Option<()> {
        self.is_ready().then_some(())
    }

    fn is_ready(&self) -> bool {
        self.0.is_writable()
    }

    fn announce(&self) -> Self::Announced {
        self.0.announce(Purpose::Put)
    }

    fn on_idle(&self) {
        self.0.sweep_dead_rate_limited();
    }
}

/// Waits until every message is finished, or a consumer has died with some.
pub(super) struct Joining<'r>(pub &'r Ring);

impl Wait for Joining<'_> {
    type Answer = Result<()>;
    type Announced = Announced<'static>;

    fn attempt(&mut self) -> Option<Self::Answer> {
        match (self.0.unfinished(), self.0.lost()) {
            (0, _) => Some(Ok(())),
            (_, 0) => None,
            (_, items) => Some(Err(Error::ConsumerDied { items })),
        }
    }

    fn is_ready(&self) -> bool {
        self.0.unfinished() == 0 || self.0.lost() != 0
    }

    fn announce(&self) -> Self::Announced {
        self.0.announce(Purpose::Join)
    }

    fn on_idle(&self) {
        if self.0.tracks_consumers() {
            self.0.heap().sweep_dead_rate_limited();
        }
    }
}

/// Returns true if a wait ended because of what it waited for, false if its deadline passed first.
pub(super) fn is_in_time(ended: Result<(), Ended>) -> Result<bool> {
    match ended {
        Ok(()) => Ok(true),
        Err(Ended::Late) => Ok(false),
        Err(Ended::Interrupted) => Err(Error::Interrupted),
    }
}
