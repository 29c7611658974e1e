//! The first hour of a new user: a crate outside this checkout that depends on `procession` by its path and
//! holds the program of the README. It must build, run, and print what the README says.

use std::fs::{self, File};
use std::time::Duration;

use crate::child::{Failure, cargo, root, run, target};
use crate::step::Outcome;

/// The expected output of the program.
const EXPECTED: &str = "20 buns eaten\n";

/// Makes the crate, runs it for `limit` at most, and compares what it prints.
///
/// # Errors
///
/// The crate does not build or run, or prints something else.
pub fn check(limit: Duration) -> Result<Outcome, Failure> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let program = first_program(&readme)
        .ok_or_else(|| Failure::Other("the README holds no Rust program".to_owned()))?;

    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("src"))?;
    fs::write(at("src/main.rs"), program)?;
    fs::write(at("Cargo.toml"), manifest())?;
    // The same versions of dependencies as in all other tests. In a fresh checkout an earlier step has made the file.
    fs::copy(root().join("Cargo.lock"), at("Cargo.lock"))?;

    let mut command = cargo();
    command
        .arg("run")
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", target().join("new-user"));
    command.stdout(File::create(at("output"))?);
    run(&mut command, limit)?;

    let output = fs::read_to_string(at("output"))?;
    print!("{output}");
    if output == EXPECTED {
        return Ok(Outcome::Passed);
    }
    Err(Failure::Other(format!(
        "the program printed {output:?} and not {EXPECTED:?}"
    )))
}

fn manifest() -> String {
    format!(
        "[package]\nname = \"steamer\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nprocession = {{ path = '{}' }}\n",
        root().display()
    )
}

/// Returns the first block of Rust in a text of Markdown.
fn first_program(markdown: &str) -> Option<&str> {
    let (_, rest) = markdown.split_once("```rust\n")?;
    Some(rest.split_once("```")?.0)
}

#[cfg(test)]
mod tests {
    use super::first_program;

    #[test]
    fn the_first_block_of_rust_is_found() {
        let text = "Run:\n```sh\ncargo run\n```\n```rust\nfn main() {}\n```\n```rust\nno\n```\n";
        assert_eq!(first_program(text), Some("fn main() {}\n"));
        assert_eq!(first_program("```sh\ncargo run\n```\n"), None);
    }
}
