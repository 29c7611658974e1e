//! A borrowed message cannot be put: a message passes into the ownership of the consumer.
//~ not general enough

use procession::Queue;

fn main() {
    let queue = Queue::<&str>::unbounded().unwrap();
    queue.put("borrowed").unwrap();
    let _ = queue.get();
}
