//! Connections to whoever fetches files by URL.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atlas_engine::{FILES_VARIABLE, FileAnswer, FileQuestion, frame};

use super::error::Error;
use super::service::Service;
use crate::engine::chain;

/// The way to whoever fetches files.
#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
    /// Connections that nobody uses now.
    idle: Mutex<Vec<Connection>>,
    /// Who listens, if this process has started it.
    _service: Option<Service>,
}

/// One question at a time.
#[derive(Debug)]
pub(super) struct Connection(UnixStream);

/// The one that all threads share, once there is one.
static CLIENT: Mutex<Option<Arc<Client>>> = Mutex::new(None);

impl Client {
    /// The process's own, begun if need be for the sake of `url`.
    pub(super) fn get(url: &str) -> Result<Arc<Self>, Error> {
        let mut client = lock(&CLIENT);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let (path, service) = match env::var_os(FILES_VARIABLE) {
            Some(path) => (PathBuf::from(path), None),
            None => {
                let service = Service::start();
                let service = service.map_err(|error| Error::no_service(url, &chain(&error)))?;
                (service.socket().to_owned(), Some(service))
            }
        };
        let begun = Arc::new(Self {
            path,
            idle: Mutex::default(),
            _service: service,
        });
        *client = Some(begun.clone());
        Ok(begun)
    }

    /// One question on a connection of its own.
    pub(super) fn ask(&self, url: &str, question: &FileQuestion) -> Result<FileAnswer, Error> {
        let mut connection = self.connection(url)?;
        let answer = connection.ask(url, question)?;
        self.give_back(connection);
        Ok(answer)
    }

    /// A connection that nobody else uses meanwhile.
    pub(super) fn connection(&self, url: &str) -> Result<Connection, Error> {
        if let Some(connection) = lock(&self.idle).pop() {
            return Ok(connection);
        }
        match UnixStream::connect(&self.path) {
            Ok(stream) => Ok(Connection(stream)),
            Err(error) => {
                self.forget();
                let path = self.path.display();
                let why = format!("whoever fetches files is not at {path} any more: {error}");
                Err(Error::no_service(url, &why))
            }
        }
    }

    /// The next one who asks begins anew.
    fn forget(&self) {
        let mut client = lock(&CLIENT);
        client.take_if(|client| client.path == self.path);
    }

    pub(super) fn give_back(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    /// Closes the file that is open on the connection, and keeps the connection.
    pub(super) fn close(&self, url: &str, mut connection: Connection) {
        // Otherwise the file is closed with the connection.
        if let Ok(FileAnswer::Closed) = connection.ask(url, &FileQuestion::Close) {
            self.give_back(connection);
        }
    }
}

impl Connection {
    /// Asks, and waits for the answer. After an error the connection is of no use.
    pub(super) fn ask(&mut self, url: &str, question: &FileQuestion) -> Result<FileAnswer, Error> {
        let gone = |why: &str| {
            let why = format!("whoever fetches files does not answer: {why}");
            Error::no_service(url, &why)
        };
        frame::write(&mut self.0, question).map_err(|error| gone(&chain(&error)))?;
        match frame::read(&mut self.0) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(gone("it has closed the connection")),
            Err(error) => Err(gone(&chain(&error))),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program seldom asks more at a time.
const IDLE_MAX: usize = 64;
