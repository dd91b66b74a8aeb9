//! [`Ways`]: the ways to a file by URL. The store asks here, and does not know who answers: the next cache above, or the origin
//! itself. Who is asked is for [`Choice`](super::above::choice::Choice) to say. Files of a client are asked for towards that client, and of nobody else.

mod answer;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use answer::{Answer, Told};

use super::above::{self, Asker, Unanswered};
use super::client::{self, ClientAsker};
use super::counts::Giver;
use super::down::Down;
use super::error::UrlError;
use super::http::{Client, ClientError, Failure, Request, host_of};
use super::options::{Options, Timeouts};
use super::retry::{Patience, Retry};
use url::Url;

/// Asks those who may have a file, and again when that may help.
#[derive(Debug)]
pub(crate) struct Ways {
    http: Client,
    above: Option<Asker>,
    clients: ClientAsker,
    timeouts: Timeouts,
    begun: Instant,
    down: Mutex<Down>,
}

impl Ways {
    pub(crate) fn new(options: &Options) -> Result<Self, ClientError> {
        let above = options.above.clone();
        Ok(Self {
            http: Client::new(options)?,
            above: above
                .map(|above| Asker::new(above, options.timeouts.idle, options.requests_max)),
            clients: ClientAsker::new(options.clients.clone(), options.timeouts.idle),
            timeouts: options.timeouts,
            begun: Instant::now(),
            down: Mutex::default(),
        })
    }

    /// Attempts at something that begins now.
    pub(crate) fn retry(&self) -> Retry {
        self.attempts(self.timeouts.attempts_max)
    }

    /// One attempt, for who can do without an answer.
    pub(crate) fn no_retry(&self) -> Retry {
        self.attempts(1)
    }

    fn attempts(&self, attempts_max: u32) -> Retry {
        let patience = Patience {
            attempts_max,
            give_up_after: self.timeouts.give_up_after,
            first_pause: self.timeouts.first_pause,
        };
        Retry::new(patience, self.now())
    }

    /// Whether nobody has answered for its host lately, so that who can do without an answer need not wait for one.
    pub(crate) fn is_down(&self, url: &Url) -> bool {
        self.down().is_down(self.now(), &host_of(url))
    }

    /// What became of a question, for those who ask after it.
    pub(crate) fn note<T>(&self, url: &Url, answer: &Result<T, UrlError>) {
        match answer {
            Err(UrlError::Unreachable { .. } | UrlError::TimedOut { .. }) => {
                self.down().handle_silence(self.now(), &host_of(url));
            }
            // Also one that is a refusal.
            Err(error) if error.status().is_none() => {}
            Ok(_) | Err(_) => self.down().handle_answer(&host_of(url)),
        }
    }

    fn down(&self) -> MutexGuard<'_, Down> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the clock of [`Ways::retry`].
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// For how long an answer may bring nothing.
    pub(crate) fn silence_max(&self) -> Duration {
        self.timeouts.idle
    }

    /// Asks until there is an answer that says something: success, that nothing has changed (304), that there is nothing
    /// (404, 410), that something has changed (412), that there is no such range (416).
    pub(crate) async fn ask(
        &self,
        request: Request<'_>,
        mut retry: Retry,
    ) -> Result<Answer, UrlError> {
        loop {
            match self.try_once(request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.wait_after(failure, &mut retry).await?,
            }
        }
    }

    /// Waits until the next attempt, if there is to be one.
    pub(crate) async fn wait_after(
        &self,
        failure: Failure,
        retry: &mut Retry,
    ) -> Result<(), UrlError> {
        let pause = failure
            .may_pass
            .then(|| retry.handle_failure(self.now(), failure.retry_after, fastrand::f64()))
            .flatten();
        let Some(pause) = pause else {
            return Err(failure.error);
        };
        tracing::debug!(error = %failure.error, ?pause, "asking again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// One attempt: above, where that may have an answer, and otherwise at the origin. Whoever answers is asked for one version, if
    /// one is known, so that it does not matter who has answered before.
    pub(crate) async fn try_once(&self, request: Request<'_>) -> Result<Answer, Failure> {
        if client::is_within(request.url) {
            let (answer, giver) = self.clients.ask(request).await?;
            return Ok(of_above(request, answer, giver));
        }
        if let Some(above) = &self.above {
            let own_secret = self.http.has_secret(request.url);
            match above.ask(request, own_secret).await {
                Ok(answer) => return Ok(of_above(request, answer, Giver::Above)),
                Err(Unanswered::Failed(failure)) => return Err(failure),
                Err(Unanswered::AskOrigin) => {}
            }
        }
        let (response, body) = self.http.try_once(request).await?;
        Ok(Answer {
            url: request.url.clone(),
            status: response.status,
            headers: response.headers,
            at: response.at,
            told: None,
            body: answer::Body::Http(Box::new(body)),
        })
    }
}

fn of_above(request: Request<'_>, answer: above::Answered, giver: Giver) -> Answer {
    Answer {
        url: request.url.clone(),
        status: answer.status,
        headers: answer.headers,
        at: answer.at.unwrap_or_else(|| request.url.clone()),
        told: answer.told,
        body: answer::Body::Above(answer.body, giver),
    }
}
