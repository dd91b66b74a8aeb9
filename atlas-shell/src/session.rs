//! [`Session`]: a manager, also after the connection to it was lost. A job outlives its manager's restart, a laptop's sleep, a
//! change of networks and its user's certificate, and so does whoever follows it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use atlas_net::redial::{Backoff, BackoffLimits};
use atlas_proto::control::JobId;

use crate::client::{Client, ClientError, ServedFolder, Serving};
use crate::exit::{self, Exit};
use crate::login;
use crate::screen::Screen;
use crate::state::StateFolder;

/// The way to a manager.
#[derive(Debug)]
pub struct Session {
    client: RefCell<Rc<Client>>,
    served: RefCell<Option<Served>>,
    again: Option<Again>,
}

/// A folder that a job reads from.
#[derive(Debug)]
struct Served {
    job: JobId,
    folder: ServedFolder,
    _serving: Option<Serving>,
}

/// How to come back.
#[derive(Debug)]
struct Again {
    state: StateFolder,
    troubles: RefCell<Troubles>,
}

/// When to try again, and when to give up. Pure.
#[derive(Debug)]
struct Troubles {
    patience: Duration,
    backoff: Backoff,
    /// When the connection was made, while there is one.
    connected: Option<Instant>,
    /// When the troubles began that are not over yet.
    began: Option<Instant>,
}

impl Session {
    /// With a connection, which ends it when it ends.
    #[must_use]
    pub fn once(client: Rc<Client>) -> Self {
        Self {
            client: RefCell::new(client),
            served: RefCell::default(),
            again: None,
        }
    }

    /// With a connection that is made again, by the login in this folder, until that has failed for so long.
    #[must_use]
    pub fn lasting(client: Client, state: StateFolder, patience: Duration) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // So that not all who lost the same manager come back at the same time.
        let seed = u64::from(since.unwrap_or_default().subsec_nanos())
            ^ u64::from(std::process::id()) << 32;
        let mut troubles = Troubles::new(patience, seed);
        troubles.handle_connected(Instant::now());
        Self {
            client: RefCell::new(Rc::new(client)),
            served: RefCell::default(),
            again: Some(Again {
                state,
                troubles: RefCell::new(troubles),
            }),
        }
    }

    /// The manager, as of now.
    #[must_use]
    pub fn client(&self) -> Rc<Client> {
        self.client.borrow().clone()
    }

    /// Serves a folder to a job, also after the connection was lost.
    ///
    /// # Errors
    ///
    /// The manager refuses, or is gone.
    pub async fn serve(&self, job: JobId, folder: ServedFolder) -> Result<(), ClientError> {
        let serving = self.client().serve(job, &folder).await?;
        let served = Served {
            job,
            folder,
            _serving: Some(serving),
        };
        *self.served.borrow_mut() = Some(served);
        Ok(())
    }

    /// On a new connection. What goes wrong is told to those who read: the job may have ended.
    async fn serve_again(&self) {
        let served = self.served.take();
        if let Some(Served { job, folder, .. }) = served {
            let serving = self.client().serve(job, &folder).await.ok();
            let served = Served {
                job,
                folder,
                _serving: serving,
            };
            *self.served.borrow_mut() = Some(served);
        }
    }

    /// Does what is to be done with the manager, and keeps the login renewed meanwhile: a connection ends with the certificate that
    /// it was made with, and the next one takes another.
    pub async fn attend<T>(&self, screen: &Screen, work: impl Future<Output = T>) -> T {
        let Some(again) = &self.again else {
            return work.await;
        };
        let renewing = login::keep_renewed(&again.state, || self.client(), |what| screen.say(what));
        tokio::select! {
            done = work => done,
            never = renewing => match never {},
        }
    }

    /// Does something with the manager that can be begun again, and begins it again on a new connection if the one that there was
    /// is lost.
    ///
    /// # Errors
    ///
    /// It fails for another reason, or the manager does not come back.
    pub async fn persist<T>(
        &self,
        screen: &Screen,
        mut attempt: impl AsyncFnMut(&Client) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        loop {
            let client = self.client();
            let lost = match attempt(&client).await {
                Err(error) if matches!(error.downcast_ref(), Some(ClientError::Lost(_))) => error,
                done => return done,
            };
            screen.say(&format!("{lost:#}; connecting again"));
            self.come_back(lost).await?;
            screen.say("connected again");
        }
    }

    /// Connects again, after this error.
    ///
    /// # Errors
    ///
    /// It is not one that time mends, or has not been mended in time.
    pub async fn come_back(&self, lost: anyhow::Error) -> anyhow::Result<()> {
        let Some(again) = &self.again else {
            return Err(lost);
        };
        let mut error = lost;
        loop {
            let wait = again.troubles.borrow_mut().handle_failure(Instant::now());
            let Some(wait) = wait.filter(|_| exit::of_error(&error) == exit::UNAVAILABLE) else {
                return Err(error);
            };
            tokio::time::sleep(wait).await;
            match login::connect(&again.state).await {
                Ok(client) if client.user().domain != self.client().user().domain => {
                    // Jobs of that domain have numbers, too.
                    let [now, before] =
                        [&client, &*self.client()].map(|client| client.user().domain);
                    return Err(Exit::error(
                        exit::REFUSED,
                        format_args!(
                            "this user is logged in to {now} now, and no longer to {before}"
                        ),
                    ));
                }
                Ok(client) => {
                    again.troubles.borrow_mut().handle_connected(Instant::now());
                    *self.client.borrow_mut() = Rc::new(client);
                    self.serve_again().await;
                    return Ok(());
                }
                Err(failed) => error = failed,
            }
        }
    }
}

impl Troubles {
    fn new(patience: Duration, seed: u64) -> Self {
        Self {
            patience,
            backoff: Backoff::new(LIMITS, seed),
            connected: None,
            began: None,
        }
    }

    fn handle_connected(&mut self, now: Instant) {
        self.connected = Some(now);
        self.backoff.handle_connected(now);
    }

    /// How long to wait before the next attempt; none if that is too late.
    fn handle_failure(&mut self, now: Instant) -> Option<Duration> {
        let held = self
            .connected
            .take()
            .map(|at| now.saturating_duration_since(at));
        if held.is_some_and(|held| held >= LIMITS.stable) {
            self.began = None;
        }
        let began = *self.began.get_or_insert(now);
        let wait = self.backoff.handle_failure(now);
        (now + wait <= began + self.patience).then_some(wait)
    }
}

/// A restart takes a second, a network that comes back some more.
const LIMITS: BackoffLimits = BackoffLimits {
    first: Duration::from_millis(200),
    max: Duration::from_secs(5),
    stable: Duration::from_secs(1),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_end_with_a_connection_that_holds_or_with_patience() {
        let patience = Duration::from_secs(60);
        let mut troubles = Troubles::new(patience, 7);
        let begin = Instant::now();
        troubles.handle_connected(begin);
        let mut now = begin + Duration::from_secs(5);
        let lost = now;
        // One that breaks at once is no end of the troubles.
        let mut attempts = 0;
        while let Some(wait) = troubles.handle_failure(now) {
            assert!(wait <= LIMITS.max, "{wait:?}");
            now += wait.max(Duration::from_millis(1));
            troubles.handle_connected(now);
            attempts += 1;
        }
        assert!(attempts > 9 && now <= lost + patience, "{attempts}");
        troubles.handle_connected(now);
        assert!(troubles.handle_failure(now + LIMITS.stable).is_some());
        assert_eq!(Troubles::new(Duration::ZERO, 7).handle_failure(now), None);
    }
}
