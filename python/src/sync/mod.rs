//! The classes under `Condition`, `Event` and `Barrier`.

macro_rules! shared_class {
    ($name:ident, $engine:ty, $sort:expr, $what:literal, $doc:literal, { $($methods:tt)* }) => {
        #[doc = $doc]
        #[pyclass(frozen, subclass, module = "procession._engine")]
        pub struct $name {
            inner: OnceLock<$engine>,
        }

        impl $name {
            /// Returns the engine's object. Raises if there is none yet.
            #[inline]
            pub(crate) fn inner(&self) -> PyResult<&$engine> {
                self.inner
                    .get()
                    .ok_or_else(|| PyRuntimeError::new_err(concat!($what, ".__init__() was not called")))
            }

            /// Sets the engine's object. Raises if there is one already.
            fn set_inner(&self, made: $engine) -> PyResult<()> {
                self.inner
                    .set(made)
                    .map_err(|_| PyRuntimeError::new_err(concat!($what, ".__init__() was called twice")))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                if let Some(inner) = self.inner.take() {
                    $crate::wait::let_go(inner);
                }
            }
        }

        #[pymethods]
        impl $name {
            #[new]
            #[pyo3(signature = (*_args, **_options))]
            fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
                Self { inner: OnceLock::new() }
            }

            /// Return what represents this object in a pickle.
            fn _handle_ref(&self) -> PyResult<HandleRef> {
                Ok($crate::handles::reference_to(Handle::from(self.inner()?)))
            }

            /// Make this the object that a handle reference stands for.
            fn _resolve(&self, py: Python<'_>, handle_ref: HandleRef) -> PyResult<()> {
                let found = $crate::handles::resolve(py, &handle_ref, $sort)?.try_into();
                self.set_inner(found.map_err(|error: Error| PyRuntimeError::new_err(error.to_string()))?)
            }

            $($methods)*
        }
    };
}

mod barrier;
mod event;
mod foreign_lock;
mod wait_queue;

pub use barrier::Barrier;
pub use event::Event;
pub use wait_queue::WaitQueue;
