//! A first look at everything.
use procession::*;

fn add(a: u64, b: u64) -> u64 {
    a + b
}
fn echo(q: Queue<u64>, out: Queue<u64>) {
    for v in q.iter() {
        out.put(v).unwrap();
    }
}
fn boom() {
    panic!("boom {}", 1)
}

#[procession::test]
fn everything() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork] {
        eprintln!("{method:?}");
        let p = Process::builder().method(method).spawn(add, (2, 3)).unwrap();
        assert_eq!(p.join().unwrap(), 5);
        let (a, b) = (Queue::bounded(3).unwrap(), Queue::unbounded().unwrap());
        let p = Process::builder()
            .method(method)
            .spawn(echo, (a.clone(), b.clone()))
            .unwrap();
        for i in 0..20000 {
            a.put(i).unwrap();
        }
        a.shutdown();
        p.join().unwrap();
        for i in 0..20000 {
            assert_eq!(b.get().unwrap(), i);
        }
        let p = Process::builder().method(method).spawn(boom, ()).unwrap();
        eprintln!("{}", p.join().unwrap_err());
    }
}
