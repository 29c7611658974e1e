//! The head of an object or block: its kind and the count of its references in one word, and its serial number.

use crate::heap::memory::heap::ObjectKind;
use crate::heap::memory::layout::{EXTRA, HEAD, Head, LEN, Off, REFS, SERIAL, header};
use crate::heap::memory::tx::Tx;

/// Returns the first word of an object of `kind` with `refs` references.
pub(in crate::heap) fn counted(kind: u8, refs: u64) -> u64 {
    u64::from(kind) | refs << 8
}

/// Returns kind and count of references of an object's first word.
pub(in crate::heap) fn uncount(word: u64) -> (u8, u64) {
    (word as u8, word >> 8)
}

/// Stages the head of a new object with one reference.
pub(in crate::heap) fn write_head(tx: &mut Tx<'_>, off: Off, kind: &ObjectKind, extra: u64) {
    tx.set(off + REFS, counted(kind.number, 1));
    let serial = next_serial(tx);
    tx.set(off + SERIAL, serial);
    tx.set(off + EXTRA, extra);
}

/// Stages one reference more.
pub(crate) fn refer(tx: &mut Tx<'_>, off: Off) {
    tx.add(off + REFS, 1 << 8);
}

/// Stages and returns a new serial number. The last one is in the header of the heap, next to what it numbers.
fn next_serial(tx: &mut Tx<'_>) -> u64 {
    tx.add(header!(serial), 1);
    tx.get(header!(serial))
}

/// Payloads start after the head and its padding.
const _: () = assert!(size_of::<Head>() as u64 <= HEAD && LEN == 24);
