//! Processes that run functions of this program.
//!
//! A function is sent as its position in the program's image, its arguments as bytes. What it returns comes back the
//! same way. README.md in this folder follows one process from its start to its end, and lists the files.

mod builder;
mod child;
mod children;
mod exec;
mod forkserver;
mod function;
mod handle;
mod info;
mod known;
mod leave;
mod lifeline;
mod order;
mod plan;
mod ready;
mod run;
mod start;

use crate::error;
pub use builder::Builder;
pub(crate) use child::{become_child_if_asked, prepare};
pub use children::active_children;
pub(crate) use children::lifeline_copy;
pub(crate) use exec::start_helper;
pub use function::Function;
pub use handle::Process;
pub use info::{ProcessInfo, cpu_count, current, parent};
pub(crate) use order::run_as_test;
pub use plan::{StartMethod, Stdio};
