//! Making pages and giving them back takes long, and is done under no lock that others wait for.

use super::rank::Rank;

/// Checks that no lock that others wait for is held: pages are about to be made or given back, which takes long.
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

    /// Has `hook` called whenever this thread makes pages or gives them back, until this is called again.
    pub(crate) fn set_hook(hook: Option<Rc<dyn Fn()>>) {
        HOOK.set(hook);
    }

    /// Calls the hook, if one is set.
    pub(in crate::heap) fn happens() {
        let hook = HOOK.with_borrow(Clone::clone);
        if let Some(hook) = hook {
            hook();
        }
    }
}
