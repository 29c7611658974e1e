//! Processes that run functions of this program.
//!
//! A function is sent as its position in the program's image, its arguments as bytes; what it returns comes back the same
//! way. README.md beside this file follows one process from its start to its end.

mod builder;
mod child;
mod children;
mod forkserver;
mod function;
mod handle;
mod leave;
mod start;

use crate::error;
pub use builder::{Builder, StartMethod, Stdio};
pub(crate) use child::{become_child_if_asked, prepare, run_as_test};
pub(crate) use children::lifeline_copy;
pub use children::{ProcessInfo, active_children, cpu_count, current, parent};
pub use function::Function;
pub use handle::Process;
pub(crate) use start::start_helper;
