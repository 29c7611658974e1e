//! A dispatcher that serves several clients at once: one `Selector` for queues, a pipe and the end of a process.
//!
//! Each client puts orders into its own queue. The dispatcher passes them on to a worker, collects the results, and
//! reports its progress to anyone who asks over a pipe. Some orders kill the worker. The selector reports the worker's
//! end like any other event; the dispatcher starts another worker, which goes on with the next order. No process polls,
//! and no extra threads are needed to wait.

use std::collections::HashMap;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use procession::{Connection, Error, Key, Process, Queue, Result, Selector, pipe};

/// An order whose number is a multiple of this kills the worker.
const UNLUCKY: u32 = 13;
/// The time that an order takes.
const WORK: Duration = Duration::from_millis(20);

/// A dispatcher serves clients, a worker that sometimes dies, and a process that asks for the progress.
#[derive(Parser)]
struct Cli {
    /// Number of clients
    #[arg(long, default_value_t = 3, value_name = "N")]
    clients: u16,

    /// Number of orders of each client
    #[arg(long, default_value_t = 10, value_name = "N")]
    orders: u16,
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

fn open(cli: &Cli) -> Result<()> {
    let queues = (0..cli.clients)
        .map(|_| Queue::unbounded())
        .collect::<Result<Vec<Queue<u32>>>>()?;
    let (questions, answers) = pipe()?;
    let dispatcher = Process::builder()
        .name("dispatcher")
        .spawn(dispatch, (queues.clone(), answers))?;
    let clients = queues
        .into_iter()
        .zip(0..)
        .map(|(queue, n)| {
            let process = Process::builder().name(format!("client {n}")).daemon(true);
            process.spawn(order, (queue, n * u32::from(cli.orders), u32::from(cli.orders)))
        })
        .collect::<Result<Vec<_>>>()?;

    while let Some((done, lost, pending)) = ask(&questions)? {
        println!("{done} done, {lost} lost, {pending} to do");
        thread::sleep(Duration::from_millis(100));
    }
    for client in clients {
        client.join()??;
    }
    let (done, lost, _) = dispatcher.join()??;
    println!("in the end: {done} done, and {lost} lost with the workers that died of them");
    Ok(())
}

/// The number of orders that are done, that are lost, and that the worker has but has not done yet.
type Tally = (u32, u32, u32);

/// Returns the dispatcher's progress; `None` if the dispatcher has ended.
fn ask(questions: &Connection<(), Tally>) -> Result<Option<Tally>> {
    let answer = match questions.send(()) {
        Ok(()) => questions.recv(),
        Err(error) => Err(error.into()),
    };
    match answer {
        Ok(tally) => Ok(Some(tally)),
        Err(Error::BrokenPipe | Error::Disconnected) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Runs as a client: puts its orders into its queue, one after the other, and then shuts the queue down.
fn order(queue: Queue<u32>, before: u32, count: u32) -> Result<()> {
    for number in before + 1..=before + count {
        queue.put(number)?;
        thread::sleep(WORK / 2);
    }
    queue.shutdown();
    Ok(())
}

/// The things that the dispatcher waits for.
#[derive(Clone, Copy)]
enum Source {
    Client(usize),
    Questions,
    Results,
    Worker,
}

/// Runs as the dispatcher until all orders are done or lost.
fn dispatch(clients: Vec<Queue<u32>>, answers: Connection<Tally, ()>) -> Result<Tally> {
    let (jobs, results) = (Queue::unbounded()?, Queue::unbounded()?);
    let mut worker = start_worker(&jobs, &results)?;

    let mut selector = Selector::new()?;
    let mut sources: HashMap<Key, Source> = HashMap::new();
    for (n, queue) in clients.iter().enumerate() {
        sources.insert(selector.add(queue)?, Source::Client(n));
    }
    sources.insert(selector.add(&answers)?, Source::Questions);
    sources.insert(selector.add(&results)?, Source::Results);
    sources.insert(selector.add(&worker)?, Source::Worker);

    let (mut done, mut lost, mut pending) = (0, 0, 0);
    let mut open = clients.len();
    while open > 0 || pending > 0 {
        for key in selector.wait()? {
            match sources[&key] {
                Source::Client(n) => match clients[n].try_get() {
                    Ok(number) => {
                        jobs.put(number)?;
                        pending += 1;
                    }
                    Err(Error::ShutDown) => {
                        selector.remove(key);
                        open -= 1;
                    }
                    Err(error) => return Err(error),
                },
                Source::Questions => {
                    // An error if the asking process is gone: then nobody needs the answer.
                    answers.try_recv()?;
                    answers.send((done, lost, pending))?;
                }
                Source::Results => {
                    results.try_get()?;
                    (done, pending) = (done + 1, pending - 1);
                }
                Source::Worker => {
                    if let Err(reason) = worker.join() {
                        println!("{reason}");
                    }
                    // The orders in the queues are not lost; the order that the worker was working on is.
                    let left = (jobs.len() + results.len()) as u32;
                    (lost, pending) = (lost + pending - left, left);
                    selector.remove(key);
                    worker = start_worker(&jobs, &results)?;
                    sources.insert(selector.add(&worker)?, Source::Worker);
                }
            }
        }
    }
    jobs.shutdown();
    worker.join()?;
    Ok((done, lost, pending))
}

fn start_worker(jobs: &Queue<u32>, results: &Queue<u32>) -> Result<Process<()>> {
    Process::builder()
        .name("worker")
        .daemon(true)
        .spawn(work, (jobs.clone(), results.clone()))
}

/// Runs as the worker: does orders until their queue is shut down.
fn work(jobs: Queue<u32>, results: Queue<u32>) {
    for number in jobs.iter() {
        thread::sleep(WORK);
        if number % UNLUCKY == 0 {
            std::process::abort();
        }
        if results.put(number).is_err() {
            break;
        }
    }
}
