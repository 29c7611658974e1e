//! Making pages and giving them back: it takes long, and is done under no lock that others wait for.

use super::rank::Rank;

/// Something follows that takes long and is done under no lock that others wait for: pages are made or given back.
pub(in crate::heap) fn before_paging() {
    Rank::Steady.is_not_reached();
    #[cfg(all(test, not(loom)))]
    hook::happens();
}

/// Lets tests do something while this thread makes pages or gives them back.
#[cfg(all(test, not(loom)))]
pub(crate) mod hook {
    use std::cell::RefCell;
    use std::rc::Rc;

    thread_local! {
        static HOOK: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
    }

    /// Has `hook` called whenever this thread does, until this is called again.
    pub(crate) fn set_hook(hook: Option<Rc<dyn Fn()>>) {
        HOOK.set(hook);
    }

    pub(in crate::heap) fn happens() {
        let hook = HOOK.with_borrow(Clone::clone);
        if let Some(hook) = hook {
            hook();
        }
    }
}
