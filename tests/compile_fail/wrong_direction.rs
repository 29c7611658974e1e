//! The end of a one-way pipe that reads cannot write, and the one that writes cannot read.
//~ `send_bytes` exists for struct `Connection<OneWay, u8>`, but its trait bounds were not satisfied
//~ `recv` exists for struct `Connection<u8, OneWay>`, but its trait bounds were not satisfied

fn main() {
    let (receiver, sender) = procession::pipe_one_way::<u8>().unwrap();
    receiver.send_bytes(b"the wrong way");
    sender.recv();
}
