//! Processes that run functions of this program.
//!
//! A function is sent as its position in the program's image, its arguments as bytes. What it returns comes back the
//! same way. README.md in this folder follows one process from its start to its end, and lists the files.

mod builder;
mod child;
mod children;
mod error;
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

pub use builder::Builder;
pub use child::{init, test_entry};
pub use children::active_children;
pub(crate) use children::lifeline_copy;
pub use error::{ExitStatus, ProcessError};
pub(crate) use exec::start_helper;
pub use function::Function;
pub use handle::Process;
pub use info::{ProcessInfo, cpu_count, current, parent};
pub use plan::{StartMethod, Stdio};
