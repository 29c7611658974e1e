//! A guest book on a socket: a server, and clients that may be of another program, also in another language than Rust.
//!
//! Without arguments, it starts some clients as its own processes. With `--serve 127.0.0.1:6000` it only serves. With
//! `--connect 127.0.0.1:6000` it only signs the book. Python can sign it too:
//!
//! ```python
//! from multiprocessing.connection import Client
//! with Client(('127.0.0.1', 6000), authkey=b'open sesame') as book:
//!     book.send_bytes(b'Monty')
//!     print(book.recv_bytes().decode())
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use procession::{Address, Error, Listener, Process, SocketConnection};

/// A guest book on a socket, and guests who sign it.
#[derive(Parser)]
struct Cli {
    /// Serve at this address until killed
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "connect")]
    serve: Option<SocketAddr>,

    /// Sign the book of the server at this address
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect: Option<SocketAddr>,

    /// The key that only the server and the guests know
    #[arg(long, default_value = "open sesame")]
    key: String,

    /// The number of guests, if the program starts them itself
    #[arg(long, default_value_t = 3, value_name = "N")]
    guests: u32,
}

#[procession::main]
fn main() -> ExitCode {
    match open(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn open(cli: &Cli) -> procession::Result<()> {
    if let Some(address) = cli.connect {
        let name = format!("guest {}", std::process::id());
        println!("{}", sign(address.into(), cli.key.clone(), name)?);
        return Ok(());
    }
    let key = Some(cli.key.as_bytes());
    if let Some(address) = cli.serve {
        let mut listener = Listener::bind(address, key)?;
        println!("the book lies at {}", listener.address());
        return serve(&mut listener, u32::MAX);
    }
    // An abstract address leaves no file behind, even if this program is killed.
    let mut listener = Listener::bind(Address::unused()?, key)?;
    let guests = (1..=cli.guests)
        .map(|n| {
            let arguments = (listener.address().clone(), cli.key.clone(), format!("guest {n}"));
            Process::builder().daemon(true).spawn(sign, arguments)
        })
        .collect::<procession::Result<Vec<_>>>()?;
    serve(&mut listener, cli.guests)?;
    for guest in guests {
        println!("{}", guest.join()??);
    }
    Ok(())
}

/// Lets a number of guests sign.
fn serve(listener: &mut Listener, guests: u32) -> procession::Result<()> {
    let mut signed = 0;
    while signed < guests {
        // A guest without the right key is an error here, and delays no other guest.
        let mut guest = match listener.accept() {
            Ok(guest) => guest,
            Err(Error::Authentication(reason)) => {
                println!("somebody was turned away: {reason}");
                continue;
            }
            Err(error) => return Err(error),
        };
        // Names are not longer than this.
        guest.set_limit(100);
        match guest.recv_bytes() {
            Ok(name) => {
                signed += 1;
                let thanks = format!("{}, you are number {signed}", String::from_utf8_lossy(&name));
                // A guest that does not wait for thanks has signed all the same.
                let _ = guest.send_bytes(thanks.as_bytes());
            }
            Err(error) => println!("a guest left the line empty: {error}"),
        }
    }
    Ok(())
}

/// Signs the book, and returns the server's answer.
fn sign(address: Address, key: String, name: String) -> procession::Result<String> {
    let mut book = SocketConnection::connect(&address, Some(key.as_bytes()))?;
    book.send_bytes(name.as_bytes())?;
    Ok(String::from_utf8_lossy(&book.recv_bytes()?).into_owned())
}
