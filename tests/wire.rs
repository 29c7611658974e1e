//! Connections over sockets: with Python as the peer, in both directions; with hostile peers; deadlines.

mod common;

use common::python::{content, pythons, run};
use common::{A_WHILE, again, is_again, not_before, pattern, until, watchdog};
use procession::{Address, AuthenticationError, Error, Listener, Process, RecvIntoError, SocketConnection};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

const KEY: Option<&[u8]> = Some(b"the key");
const SOON: Duration = Duration::from_millis(50);

fn tcp() -> Address {
    Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

/// Returns one address of each kind.
fn addresses(folder: &Path) -> [Address; 3] {
    [
        Address::Path(folder.join("socket")),
        Address::unused().unwrap(),
        tcp(),
    ]
}

/// Returns an address as a Python expression.
fn python(address: &Address) -> String {
    match address {
        Address::Path(path) => format!("'{}'", path.display()),
        Address::Abstract(name) => format!("'\\0{}'", str::from_utf8(name).unwrap()),
        Address::Tcp(address) => format!("('{}', {})", address.ip(), address.port()),
        other => panic!("{other}"),
    }
}

fn connect(address: &Address) -> procession::Result<SocketConnection> {
    SocketConnection::connect(address, KEY)
}

/// Connects without a handshake, to send any bytes.
fn raw(address: &Address) -> UnixStream {
    let Address::Abstract(name) = address else {
        panic!("{address}");
    };
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    UnixStream::connect_addr(&address).unwrap()
}

fn listener() -> Listener {
    Listener::bind(Address::unused().unwrap(), KEY).unwrap()
}

/// Connects two ends of this crate.
fn pair(address: Address) -> (SocketConnection, SocketConnection) {
    let mut listener = Listener::bind(address, KEY).unwrap();
    let address = listener.address().clone();
    let client = thread::spawn(move || connect(&address));
    let server = listener.accept().unwrap();
    (server, client.join().unwrap().unwrap())
}

// ---- with Python ----

const PYTHON_CLIENT: &str = "
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
for address in map(eval, sys.argv[1:]):
    large = 17 << 20 if isinstance(address, tuple) else 1 << 20
    with Client(address, authkey=b'the key') as peer:
        for value in 42, 'text', b'bytes', [1, {2: (3.0, None)}], bytes(100_000):
            peer.send(value)
            assert peer.recv() == value
        for n in 0, 1, 16384, 16385, large:
            peer.send_bytes(b'x' * n)
            assert peer.recv_bytes() == b'x' * n
    try:
        Client(address, authkey=b'another key')
    except AuthenticationError as error:
        print(error)
    else:
        sys.exit('let in with a wrong key')
";

fn echo(mut peer: SocketConnection) {
    loop {
        match peer.recv_bytes() {
            Ok(message) => peer.send_bytes(&message).unwrap(),
            Err(error) => {
                assert_eq!(error, Error::Disconnected);
                return;
            }
        }
    }
}

#[test]
fn python_connects_to_us() {
    let _watchdog = watchdog();
    for program in pythons() {
        let folder = tempfile::tempdir().unwrap();
        let mut listeners = addresses(folder.path()).map(|address| Listener::bind(address, KEY).unwrap());
        let expressions: Vec<_> = listeners
            .iter()
            .map(|listener| python(listener.address()))
            .collect();
        let args: Vec<_> = expressions.iter().map(String::as_str).collect();
        let child = run(&program, PYTHON_CLIENT, &args);
        for listener in &mut listeners {
            echo(listener.accept().unwrap());
            let error = listener.accept().unwrap_err();
            assert_eq!(error, Error::Authentication(AuthenticationError::WrongKey));
        }
        assert_eq!(content(child).matches("digest sent was rejected").count(), 3);
    }
}

const PYTHON_LISTENER: &str = "
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Listener
for address in map(eval, sys.argv[1:]):
    large = 17 << 20 if isinstance(address, tuple) else 1 << 20
    with Listener(address, authkey=b'the key') as listener:
        print(listener.address[1] if isinstance(address, tuple) else 0, flush=True)
        with listener.accept() as peer:
            peer.send(42)
            assert peer.recv() == 42
            for n in 0, 1, 16384, 16385, large:
                peer.send_bytes(b'x' * n)
                assert peer.recv_bytes() == b'x' * n
        try:
            listener.accept()
        except AuthenticationError as error:
            assert str(error) == 'digest received was wrong', error
        else:
            sys.exit('let in with a wrong key')
";

#[test]
fn we_connect_to_python() {
    let _watchdog = watchdog();
    for program in pythons() {
        let folder = tempfile::tempdir().unwrap();
        let addresses = addresses(folder.path());
        let expressions: Vec<_> = addresses.iter().map(python).collect();
        let args: Vec<_> = expressions.iter().map(String::as_str).collect();
        let mut child = run(&program, PYTHON_LISTENER, &args);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for mut address in addresses {
            // Python prints a line for each listener when it listens.
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            if let Address::Tcp(address) = &mut address {
                address.set_port(line.trim().parse().unwrap());
            }
            let mut peer = connect(&address).unwrap();
            let pickled = peer.recv_bytes().unwrap();
            assert_eq!(pickled, b"\x80\x04K*.", "42");
            peer.send_bytes(&pickled).unwrap();
            echo(peer);
            let error = SocketConnection::connect(&address, Some(b"another key")).unwrap_err();
            assert_eq!(error, Error::Authentication(AuthenticationError::Rejected));
        }
        content(child);
    }
}

/// Python challenges with every digest that it supports.
#[test]
fn python_chooses_the_digest() {
    const SCRIPT: &str = "
import sys
from multiprocessing.connection import Listener, deliver_challenge, answer_challenge
with Listener(eval(sys.argv[1])) as listener:
    print(flush=True)
    for digest in 'md5', 'sha256', 'sha384', 'sha3_256', 'sha3_384':
        with listener.accept() as peer:
            deliver_challenge(peer, b'the key', digest)
            answer_challenge(peer, b'the key')
            peer.send_bytes(digest.encode())
";
    let _watchdog = watchdog();
    for program in pythons()
        .into_iter()
        .filter(|program| !program.ends_with("python3.11"))
    {
        let address = Address::unused().unwrap();
        let mut child = run(&program, SCRIPT, &[&python(&address)]);
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        for digest in ["md5", "sha256", "sha384", "sha3_256", "sha3_384"] {
            let mut peer = connect(&address).unwrap();
            assert_eq!(peer.recv_bytes().unwrap(), digest.as_bytes());
        }
        content(child);
    }
}

/// Sends messages whose length does not fit into a short header.
#[test]
#[ignore = "it takes ten gigabytes of memory"]
fn messages_of_more_than_two_gigabytes() {
    const SCRIPT: &str = "
import sys
from multiprocessing.connection import Client
with Client(eval(sys.argv[1]), authkey=b'the key') as peer:
    message = peer.recv_bytes()
    assert len(message) == 2 ** 31 + 5 and message[-3:] == b'end'
    peer.send_bytes(message)
";
    let _watchdog = watchdog();
    let mut large = vec![7; (1 << 31) + 2];
    large.extend(b"end");
    for program in pythons() {
        let mut listener = listener();
        let child = run(&program, SCRIPT, &[&python(listener.address())]);
        let mut peer = listener.accept().unwrap();
        peer.send_bytes(&large).unwrap();
        assert!(peer.recv_bytes().unwrap() == large);
        content(child);
    }
    let (receiver, sender) = procession::pipe_one_way::<()>().unwrap();
    sender.send_bytes(&large).unwrap();
    assert!(*receiver.recv_bytes().unwrap() == large);
}

// ---- between two ends of this crate ----

#[test]
fn messages_travel_both_ways_at_every_kind_of_address() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().unwrap();
    for address in addresses(folder.path()) {
        let (mut server, mut client) = pair(address);
        for len in [0, 1, 4, 70_000, 20 << 20] {
            let message = pattern(len, len as usize);
            thread::scope(|scope| {
                scope.spawn(|| client.send_bytes(&message).unwrap());
                assert!(server.recv_bytes().unwrap() == message);
            });
        }
        // In both directions at the same time, each in a thread.
        let (mut sender, mut receiver) = server.split();
        thread::scope(|scope| {
            scope.spawn(|| (0..1000u32).for_each(|n| sender.send_bytes(&n.to_le_bytes()).unwrap()));
            scope.spawn(|| {
                (0..1000u32).for_each(|n| assert_eq!(receiver.recv_bytes().unwrap(), n.to_be_bytes()));
            });
            for n in 0..1000u32 {
                client.send_bytes(&n.to_be_bytes()).unwrap();
                assert_eq!(client.recv_bytes().unwrap(), n.to_le_bytes());
            }
        });
    }
}

#[test]
fn without_a_key_there_is_no_handshake() {
    let _watchdog = watchdog();
    let mut listener = Listener::bind(tcp(), None).unwrap();
    let mut client = SocketConnection::connect(listener.address(), None).unwrap();
    let mut server = listener.accept().unwrap();
    client.send_bytes(b"hello").unwrap();
    let mut buffer = [0; 3];
    let error = server.recv_bytes_into(&mut buffer).unwrap_err();
    assert!(matches!(&error, RecvIntoError::TooShort { message, room: 3 } if **message == *b"hello"));
    assert!(matches!(listener.try_accept(), Err(Error::Empty)));
}

#[test]
fn deadlines() {
    let _watchdog = watchdog();
    let (mut server, mut client) = pair(Address::unused().unwrap());
    assert_eq!(server.try_recv_bytes(), Err(Error::Empty));
    assert_eq!(
        not_before(SOON, || server.recv_bytes_timeout(SOON)),
        Err(Error::Timeout)
    );
    assert_eq!(not_before(SOON, || server.poll(SOON)), Ok(false));
    let mut listener = listener();
    assert_eq!(
        not_before(SOON, || listener.accept_timeout(SOON)).unwrap_err(),
        Error::Timeout
    );

    // More than the system's buffers hold: a part of the message is sent, and the rest is kept.
    let large = pattern(1, 8 << 20);
    let error = not_before(SOON, || client.send_bytes_timeout(&large, SOON)).unwrap_err();
    assert!(
        matches!(error, Error::PartlySent { left } if left < 8 << 20),
        "{error}"
    );
    assert_eq!(client.try_send_bytes(b"next"), Err(Error::Full));
    assert_eq!(client.send_bytes_timeout(b"next", SOON), Err(Error::Timeout));
    // The receiver keeps the part that has arrived.
    assert_eq!(server.recv_bytes_timeout(SOON), Err(Error::Timeout));
    assert_eq!(server.poll(Duration::ZERO), Ok(false));
    thread::scope(|scope| {
        scope.spawn(|| client.send_bytes(b"next").unwrap());
        assert!(server.recv_bytes().unwrap() == large);
        assert_eq!(server.recv_bytes().unwrap(), b"next");
    });
    client.flush(Duration::ZERO).unwrap();
}

#[procession::test]
fn a_socket_file_is_private_and_removed_with_the_listener() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut first = Some(Listener::bind(&*path, KEY).unwrap());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let error = Listener::bind(&*path, KEY).unwrap_err();
    assert!(
        matches!(&error, Error::Os { call, .. } if call == "bind"),
        "{error}"
    );
    assert!(
        path.exists(),
        "a listener that could not bind has removed the file of another"
    );
    // A forked child that drops its copy removes nothing.
    let child = Process::fork(|| drop(first.take())).unwrap();
    child.join().unwrap();
    assert!(path.exists(), "a forked copy has removed the file");
    drop(first);
    assert!(!path.exists());

    let second = Listener::bind(&*path, KEY).unwrap();
    std::fs::remove_file(&path).unwrap();
    let third = Listener::bind(&*path, KEY).unwrap();
    drop(second);
    assert!(
        path.exists(),
        "the listener has removed a file that is not its own"
    );
    drop(third);
    assert!(!path.exists());
    assert!(matches!(
        SocketConnection::connect(&Address::Path(path), KEY),
        Err(Error::Os { .. })
    ));
}

/// Handshakes continue while the server also waits for other things.
#[test]
fn a_listener_among_others() {
    let _watchdog = watchdog();
    let mut listener = listener();
    let address = listener.address().clone();
    let client = thread::spawn(move || connect(&address));
    let never = procession::Queue::<u8>::unbounded().unwrap();
    let mut connection = loop {
        assert_eq!(procession::wait(&[&listener, &never], None).unwrap(), [0]);
        match listener.try_accept() {
            Ok(connection) => break connection,
            Err(error) => assert_eq!(error, Error::Empty),
        }
    };
    let mut client = client.join().unwrap().unwrap();
    assert_eq!(connection.try_recv_bytes(), Err(Error::Empty));
    client.send_bytes(b"here").unwrap();
    assert_eq!(procession::wait(&[&never, &connection], None).unwrap(), [1]);
    assert_eq!(connection.try_recv_bytes().unwrap(), b"here");
}

// ---- hostile and dead peers ----

const ADDRESS: &str = "PROCESSION_TEST_ADDRESS";

#[test]
fn another_user_is_refused_at_an_abstract_address() {
    let _watchdog = watchdog();
    if is_again() {
        let name = std::env::var(ADDRESS).unwrap().into_bytes();
        let error = connect(&Address::Abstract(name)).unwrap_err();
        assert_eq!(error, Error::Authentication(AuthenticationError::Left));
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only the superuser can be somebody else");
        return;
    }
    let mut listener = listener();
    let name = listener.address().to_string();
    let stranger = again("another_user_is_refused_at_an_abstract_address")
        .env(ADDRESS, name.trim_start_matches('@'))
        .uid(65534)
        .spawn();
    let Ok(mut stranger) = stranger else {
        eprintln!("skipped: this program is not everybody's to run");
        return;
    };
    let error = listener.accept().unwrap_err();
    let expected = AuthenticationError::OtherUser { uid: 65534 };
    assert_eq!(error, Error::Authentication(expected));
    assert!(stranger.wait().unwrap().success());
}

#[test]
fn a_silent_client_delays_no_other() {
    let _watchdog = watchdog();
    let mut listener = listener();
    let address = listener.address().clone();
    // More than the largest number of handshakes at a time.
    let mut silent: Vec<_> = (0..70).map(|_| raw(&address)).collect();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || connect(&address).map(drop))
        })
        .collect();
    let (mut served, mut given_up) = (0, 0);
    while served < 3 {
        match listener.accept() {
            Ok(_) => served += 1,
            Err(Error::Authentication(AuthenticationError::Silent)) => given_up += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        given_up < 70,
        "not all of them, and not after twenty seconds each"
    );
    for client in clients {
        client.join().unwrap().unwrap();
    }
    // A client that disconnects is reported at once.
    silent.truncate(silent.len() - 1);
    drop(silent);
    until(|| {
        matches!(
            listener.accept_timeout(A_WHILE),
            Err(Error::Authentication(AuthenticationError::Left))
        )
    });
}

#[test]
fn a_handshake_times_out() {
    let _watchdog = watchdog();
    let mut listener = listener();
    listener.set_handshake_timeout(SOON);
    let _silent = raw(listener.address());
    let error = not_before(SOON, || listener.accept()).unwrap_err();
    assert_eq!(error, Error::Authentication(AuthenticationError::Silent));

    // A listener that never accepts is a silent peer too.
    let error = not_before(SOON, || {
        SocketConnection::connect_timeout(listener.address(), KEY, SOON)
    })
    .unwrap_err();
    assert_eq!(error, Error::Authentication(AuthenticationError::Silent));
}

#[test]
fn connecting_to_a_full_queue_times_out() {
    let _watchdog = watchdog();
    let mut listener = Listener::bind(Address::unused().unwrap(), None).unwrap();
    let address = listener.address().clone();
    let mut connections = Vec::new();
    let error = loop {
        match SocketConnection::connect_timeout(&address, None, SOON) {
            Ok(connection) => connections.push(connection),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Timeout);
    let waiting = thread::spawn(move || SocketConnection::connect(&address, None).map(drop));
    for _ in 0..=connections.len() {
        drop(listener.accept().unwrap());
    }
    waiting.join().unwrap().unwrap();
}

#[test]
fn clients_outside_the_protocol_are_refused() {
    let _watchdog = watchdog();
    let mut listener = listener();
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 1, 7],
        &[255; 12],
        &[0x7f; 300],
    ] {
        let mut peer = raw(listener.address());
        peer.write_all(nonsense).unwrap();
        let error = listener.accept().unwrap_err();
        assert!(
            matches!(error, Error::Authentication(AuthenticationError::Garbled { .. })),
            "{error}"
        );
        let mut said = Vec::new();
        let _ = peer.read_to_end(&mut said);
        assert!(said[4..].starts_with(b"#CHALLENGE#{sha256}"));
    }
}

/// Returns a connection, and its peer, which can send any bytes.
fn with_raw() -> (SocketConnection, UnixStream) {
    let mut listener = Listener::bind(Address::unused().unwrap(), None).unwrap();
    let peer = raw(listener.address());
    (listener.accept().unwrap(), peer)
}

#[test]
fn a_bad_frame_is_an_error_for_the_rest_of_the_stream() {
    let _watchdog = watchdog();
    let wrong = [
        (
            &[0, 0, 4, 1][..],
            Error::FrameTooLarge {
                len: 1025,
                limit: 1024,
            },
        ),
        (
            &[255; 12],
            Error::FrameTooLarge {
                len: u64::MAX,
                limit: 1024,
            },
        ),
        (&[128, 0, 0, 1], Error::BadFrame { length: i32::MIN + 1 }),
    ];
    for (bytes, error) in wrong {
        let (mut connection, mut peer) = with_raw();
        connection.set_limit(1024);
        peer.write_all(&[0, 0, 0, 2, 8, 9]).unwrap();
        peer.write_all(bytes).unwrap();
        assert_eq!(connection.recv_bytes().unwrap(), [8, 9]);
        assert_eq!(connection.recv_bytes().as_ref(), Err(&error));
        assert_eq!(connection.recv_bytes(), Err(error));
    }
}

#[test]
fn a_peer_that_dies_in_the_middle_of_a_message() {
    let _watchdog = watchdog();
    let ends = [
        (&[][..], Error::Disconnected),
        (&[0, 0], Error::Truncated { expected: 0, got: 0 }),
        (&[0, 0, 0, 9, 1, 2], Error::Truncated { expected: 9, got: 2 }),
        // The header announces a long message, and no memory is allocated for it.
        (
            &[255, 255, 255, 255, 0, 0, 127, 0, 0, 0, 0, 0, 1],
            Error::Truncated {
                expected: 0x7f00_0000_0000,
                got: 1,
            },
        ),
    ];
    for (bytes, error) in ends {
        let (mut connection, mut peer) = with_raw();
        peer.write_all(bytes).unwrap();
        drop(peer);
        assert_eq!(connection.recv_bytes(), Err(error));
        until(|| connection.send_bytes(b"anybody?") == Err(Error::BrokenPipe));
    }
}

fn send_for_ever(address: Address) {
    let mut connection = connect(&address).unwrap();
    loop {
        connection.send_bytes(&[7; 3 << 20]).unwrap();
    }
}

#[procession::test]
fn a_peer_that_is_killed() {
    let _watchdog = watchdog();
    let mut listener = listener();
    let process = Process::spawn(send_for_ever, listener.address().clone()).unwrap();
    let mut connection = listener.accept().unwrap();
    for _ in 0..3 {
        assert!(connection.recv_bytes().unwrap() == [7; 3 << 20]);
    }
    process.kill().unwrap();
    let error = loop {
        match connection.recv_bytes() {
            Ok(message) => assert!(message == [7; 3 << 20]),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, Error::Disconnected | Error::Truncated { .. }),
        "{error}"
    );
    assert!(process.join().is_err());
}

#[test]
fn over_tcp_too() {
    let _watchdog = watchdog();
    let mut listener = Listener::bind(tcp(), KEY).unwrap();
    let Address::Tcp(address) = *listener.address() else {
        panic!("{}", listener.address());
    };
    // The client is gone before the listener accepts.
    drop(TcpStream::connect(address).unwrap());
    let error = listener.accept().unwrap_err();
    assert_eq!(error, Error::Authentication(AuthenticationError::Left));
    assert!(matches!(listener.try_accept(), Err(Error::Empty)));
}
