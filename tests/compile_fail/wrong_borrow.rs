//! A message that is taken out belongs to whoever took it.
//~ not general enough

use procession::Queue;

fn main() {
    let queue = Queue::<&str>::unbounded().unwrap();
    queue.put("borrowed").unwrap();
    let _ = queue.get();
}
