//! A server in a thread of its own, for programs that do other things meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::engine::Engine;
use crate::{Function, Server};

/// Something to do between two turns of the server.
type Job<F> = Box<dyn FnOnce(&mut Engine<F>) + Send>;

/// A server that serves until it is dropped.
pub struct Served<F> {
    stop: Arc<AtomicBool>,
    jobs: Sender<Job<F>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl<F: Function + 'static> Served<F> {
    /// Makes the function in the thread, and returns when its server listens on `socket`.
    ///
    /// # Errors
    /// In words.
    pub fn start(
        socket: &Path,
        make: impl FnOnce() -> Result<F, String> + Send + 'static,
    ) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let (jobs, todo) = channel();
        let (ready, is_ready) = channel();
        let (flag, socket) = (stop.clone(), socket.to_path_buf());
        let serve = move || {
            let made = make().and_then(|function| {
                Server::listen(&socket, function).map_err(|error| error.to_string())
            });
            let mut server = match made {
                Ok(server) => server,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return Ok(());
                }
            };
            let _ = ready.send(Ok(()));
            run(&mut server, &todo, &flag)
        };
        let thread = thread::Builder::new().name("vfio-user".into()).spawn(serve);
        let thread = thread.map_err(|e| format!("a thread: {e}"))?;
        let started = is_ready
            .recv()
            .unwrap_or_else(|_| Err("the server's thread ended".into()));
        started.map(|()| Self {
            stop,
            jobs,
            thread: Some(thread),
        })
    }

    /// What `ask` finds, between two turns of the server.
    ///
    /// # Errors
    /// If the server has ended: why.
    pub fn ask<R: Send + 'static>(
        &mut self,
        ask: impl FnOnce(&mut Engine<F>) -> R + Send + 'static,
    ) -> Result<R, String> {
        let (answer, answered) = channel();
        let job: Job<F> = Box::new(move |engine| drop(answer.send(ask(engine))));
        if self.jobs.send(job).is_ok()
            && let Ok(found) = answered.recv()
        {
            return Ok(found);
        }
        self.end()?;
        Err("the server has ended".into())
    }
}

impl<F> Served<F> {
    fn end(&mut self) -> Result<(), String> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map_or(Ok(Ok(())), JoinHandle::join);
        ended.unwrap_or_else(|_| Err("the server's thread panicked".into()))
    }
}

fn run<F: Function>(
    server: &mut Server<F>,
    todo: &Receiver<Job<F>>,
    stop: &AtomicBool,
) -> Result<(), String> {
    while !stop.load(Ordering::Relaxed) {
        todo.try_iter().for_each(|job| job(server.engine()));
        server.step().map_err(|error| error.to_string())?;
    }
    Ok(())
}

impl<F> Drop for Served<F> {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
