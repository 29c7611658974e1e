//! The memory limit of this process's control group (cgroups(7)): a container's limit, which the machine's memory
//! does not show.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns how many bytes this process's group may have: the least limit of the group and of those above it, as far
/// as they are visible. Returns `None` without a limit.
pub(crate) fn memory_limit() -> Option<u64> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    least_limit(&mounts, &groups, Path::new("/"))
}

/// A hierarchy of groups that may limit memory.
struct Hierarchy {
    /// The group that its mount shows at its root.
    root: PathBuf,
    /// The mount point.
    mount: PathBuf,
    /// Version 2, in which one hierarchy has every controller.
    unified: bool,
}

impl Hierarchy {
    /// Parses a line of mountinfo: `35 25 0:30 ROOT MOUNT options tags - TYPE source super-options`.
    fn of(line: &str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let unified = match back.next()? {
            "cgroup2" => true,
            "cgroup" if back.nth(1)?.split(',').any(|option| option == "memory") => false,
            _ => return None,
        };
        let mut front = front.split(' ').skip(3);
        Some(Self {
            root: plain(front.next()?),
            mount: plain(front.next()?),
            unified,
        })
    }

    /// Returns the group of this process, from lines of the form `number:controllers:GROUP`.
    fn group(&self, groups: &str) -> Option<PathBuf> {
        groups.lines().find_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (controllers, group) = rest.split_once(':')?;
            let ours = if self.unified {
                number == "0" && controllers.is_empty()
            } else {
                controllers.split(',').any(|name| name == "memory")
            };
            ours.then(|| PathBuf::from(group))
        })
    }

    /// Returns the folders of the group and of those above it, up to the mount point.
    fn folders(&self, groups: &str) -> Vec<PathBuf> {
        let Some(group) = self.group(groups) else {
            return Vec::new();
        };
        // A group outside of the mount is not visible; the mount's own root is above it or beside it.
        let below = group.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let below = if below.components().any(|part| part.as_os_str() == "..") {
            Path::new("")
        } else {
            below
        };
        below.ancestors().map(|part| self.mount.join(part)).collect()
    }

    fn files(&self) -> &[&str] {
        if self.unified {
            // Beyond `high` a group is slowed down until it hardly moves, and not killed: no better.
            &["memory.max", "memory.high"]
        } else {
            &["memory.limit_in_bytes"]
        }
    }
}

/// Decodes a path of mountinfo, in which blanks and the like are written in octal.
fn plain(text: &str) -> PathBuf {
    PathBuf::from(
        text.replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\012", "\n")
            .replace("\\134", "\\"),
    )
}

/// Returns the least of all limits. The files are looked up below `above`, which is `/` except in tests.
fn least_limit(mounts: &str, groups: &str, above: &Path) -> Option<u64> {
    let hierarchies: Vec<Hierarchy> = mounts.lines().filter_map(Hierarchy::of).collect();
    let limits = hierarchies.iter().flat_map(|hierarchy| {
        hierarchy.folders(groups).into_iter().flat_map(|folder| {
            let folder = above.join(folder.strip_prefix("/").unwrap_or(&folder));
            hierarchy.files().iter().filter_map(move |file| {
                // "max", and no file at all (a hierarchy's first group has none), is no limit.
                fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
            })
        })
    });
    limits.min()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    /// A folder that goes with the test.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let tree = Self(std::env::temp_dir().join(format!("procession-{name}-{}", std::process::id())));
            for (path, text) in files {
                let path = tree.0.join(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, text).expect("a file");
            }
            tree
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn the_least_limit_up_the_tree_counts() {
        let tree = Tree::new(
            "up",
            &[
                ("sys/fs/cgroup/memory.max", "5\n"), // not a group's: the mount is the root here, but files may be there
                ("sys/fs/cgroup/a/memory.max", "max\n"),
                ("sys/fs/cgroup/a/memory.high", "9000\n"),
                ("sys/fs/cgroup/a/b/memory.max", "10000\n"),
                ("sys/fs/cgroup/other/memory.max", "1\n"),
            ],
        );
        assert_eq!(least_limit(UNIFIED, "0::/a/b\n", &tree.0), Some(5));
        fs::remove_file(tree.0.join("sys/fs/cgroup/memory.max")).expect("it is there");
        assert_eq!(least_limit(UNIFIED, "0::/a/b\n", &tree.0), Some(9000));
        assert_eq!(
            least_limit(UNIFIED, "0::/a/b/c\n", &tree.0),
            Some(9000),
            "no file is no limit"
        );
        assert_eq!(least_limit(UNIFIED, "0::/\n", &tree.0), None);
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn both_versions_count_side_by_side() {
        let tree = Tree::new(
            "both",
            &[
                (
                    "sys/fs/cgroup/memory/memory.limit_in_bytes",
                    "9223372036854771712\n",
                ),
                ("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "314572800\n"),
                ("sys/fs/cgroup/unified/x/memory.max", "400000000\n"),
                ("sys/fs/cgroup/cpu/jobs/memory.limit_in_bytes", "1\n"),
            ],
        );
        let groups = "4:memory:/jobs\n1:cpu:/jobs\n0::/x\n";
        assert_eq!(least_limit(HYBRID, groups, &tree.0), Some(314_572_800));
        assert_eq!(least_limit(HYBRID, "0::/x\n", &tree.0), Some(400_000_000));
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn a_container_sees_its_group_at_the_root_of_the_mount() {
        let mounts = "40 39 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let tree = Tree::new("container", &[("sys/fs/cgroup/memory.max", "777\n")]);
        for groups in ["0::/docker/abc\n", "0::/\n", "0::/../other\n"] {
            assert_eq!(least_limit(mounts, groups, &tree.0), Some(777), "{groups}");
        }
    }

    #[test]
    fn nonsense_is_no_limit() {
        for (mounts, groups) in [
            ("", ""),
            ("x - cgroup2", "0::"),
            (UNIFIED, "::"),
            (" - cgroup ", "a:b"),
        ] {
            assert_eq!(least_limit(mounts, groups, Path::new("/nowhere")), None);
        }
    }
}
