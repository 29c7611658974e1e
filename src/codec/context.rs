//! What a thread remembers while it encodes or decodes a value: the objects that the value's handles refer to.

use crate::error::Error;
use crate::heap::layout::Off;
use crate::heap::object::Object;
use core::mem::ManuallyDrop;
use std::cell::{Cell, RefCell};
use std::thread::LocalKey;

/// A thread's value that is `None` except while a [`Context`] lives. It has no destructor, so that queues work while a
/// thread or the program ends.
type Slot<T> = RefCell<ManuallyDrop<Option<T>>>;

thread_local! {
    /// Objects that the value being encoded refers to.
    static OUTGOING: Slot<Vec<Object>> = const { RefCell::new(ManuallyDrop::new(None)) };
    /// Objects that the block being decoded carries.
    static INCOMING: Slot<Vec<Off>> = const { RefCell::new(ManuallyDrop::new(None)) };
    /// Why a handle could not travel. Postcard drops the text of custom errors.
    static REASON: Cell<Option<String>> = const { Cell::new(None) };
}

/// Restores a thread's slot when an encoding or decoding ends, in whatever way.
pub(super) struct Context<T: 'static>(&'static LocalKey<Slot<T>>, Option<T>);

impl<T> Context<T> {
    fn enter(key: &'static LocalKey<Slot<T>>, value: T) -> Self {
        Self(key, key.with_borrow_mut(|slot| slot.replace(value)))
    }
}

impl<T> Drop for Context<T> {
    fn drop(&mut self) {
        let before = self.1.take();
        self.0.with_borrow_mut(|slot| **slot = before);
    }
}

/// Begins an encoding, which collects the objects that are referred to.
pub(super) fn collecting() -> Context<Vec<Object>> {
    Context::enter(&OUTGOING, Vec::new())
}

impl Context<Vec<Object>> {
    /// Takes the objects that were collected.
    pub(super) fn collected(&self) -> Vec<Object> {
        self.0.with_borrow_mut(|slot| slot.take()).unwrap_or_default()
    }
}

/// Begins the decoding of a block that carries these objects.
pub(super) fn carrying(objects: Vec<Off>) -> Context<Vec<Off>> {
    Context::enter(&INCOMING, objects)
}

/// Adds to the objects that the value being encoded refers to. Returns false where nothing is being encoded.
pub(super) fn collect(object: &Object) -> bool {
    OUTGOING.with_borrow_mut(|outgoing| {
        outgoing
            .as_mut()
            .map(|objects| objects.push(object.clone()))
            .is_some()
    })
}

/// Returns true if the block being decoded carries the object at `off`.
pub(super) fn is_carried(off: Off) -> bool {
    INCOMING.with_borrow(|incoming| incoming.as_ref().is_some_and(|offs| offs.contains(&off)))
}

/// Notes why a handle cannot travel, and returns the text for the error.
pub(super) fn refuse(reason: &str) -> String {
    let text = Error::ForeignHandle {
        reason: reason.to_owned(),
    }
    .to_string();
    let _ = REASON.try_with(|reason| reason.set(Some(text.clone())));
    text
}

/// Returns why an encoding or decoding failed: what [`refuse`] noted, or what postcard says.
pub(super) fn explain(error: &postcard::Error) -> String {
    match REASON.try_with(Cell::take).ok().flatten() {
        Some(reason) => reason,
        None => error.to_string(),
    }
}
