//! Programs that must not compile: the compiler rejects them with the right message.
//!
//! Each file `compile_fail/wrong_*.rs` is compiled on its own. Each line of it that begins with `//~` is a text that
//! the compiler's message must contain. The test ignores the rest of the message.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the folder where cargo has put the library: the folder of this test program.
fn dependencies() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().unwrap().to_owned()
}

/// Returns the libraries of the crate that cargo has built, newest first.
fn libraries() -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dependencies())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("libprocession-") && name.ends_with(".rlib")
        })
        .collect();
    found.sort_by_key(|path| std::fs::metadata(path).and_then(|data| data.modified()).unwrap());
    found.reverse();
    found
}

/// Compiles one program to machine code, because some errors come only then. Returns the compiler's message if it
/// fails.
fn compile(program: &Path, library: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args([
            "--edition=2024",
            "--emit=obj",
            "--error-format=short",
            "--cap-lints=allow",
        ])
        .arg("-L")
        .arg(format!("dependency={}", dependencies().display()))
        .arg("--extern")
        .arg(format!("procession={}", library.display()))
        .arg("-o")
        .arg(folder.path().join("object"))
        .arg(program)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn misuse_does_not_compile() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    // The right library is the one with which a correct program compiles.
    let right = |library: &PathBuf| compile(&folder.join("right.rs"), library);
    let library = libraries().into_iter().find(|library| right(library).is_ok());
    let library = library.unwrap_or_else(|| {
        panic!(
            "a right program does not compile: {:?}",
            libraries().iter().map(right).collect::<Vec<_>>()
        )
    });
    let mut wrong = 0;
    for program in std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        let name = program.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("wrong_") {
            continue;
        }
        wrong += 1;
        let said = compile(&program, &library).expect_err(&name);
        let text = std::fs::read_to_string(&program).unwrap();
        for expected in text.lines().filter_map(|line| line.strip_prefix("//~ ")) {
            assert!(
                said.contains(expected),
                "{name} should have said {expected:?}, and says:\n{said}"
            );
        }
    }
    assert_eq!(wrong, 9);
}
