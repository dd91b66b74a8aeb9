//! [`ClientAsker`]: asks towards a client, and gives its answer as the store knows answers. There is nobody else to ask: whoever is on the way says
//! that it takes its time, or why there is no answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::super::above::ask::{Answered, Body, answered, bytes_of, question, say_and_hear};
use super::super::above::words::Said;
use super::super::counts::Giver;
use super::super::error::UrlError;
use super::super::http::{Failure, Request};
use super::{ClientWays, NoWay, files_of};

/// Asks clients.
#[derive(Debug)]
pub(crate) struct ClientAsker {
    clients: Option<Arc<dyn ClientWays>>,
    /// Ways at a time.
    ways: Arc<Semaphore>,
    idle: Duration,
}

impl ClientAsker {
    /// Who says nothing for so long, not even that it takes its time, is silent.
    pub(crate) fn new(clients: Option<Arc<dyn ClientWays>>, idle: Duration) -> Self {
        Self {
            clients,
            ways: Arc::new(Semaphore::new(WAYS_MAX)),
            idle,
        }
    }

    /// One question, with who gives the bytes.
    pub(crate) async fn ask(&self, request: Request<'_>) -> Result<(Answered, Giver), Failure> {
        let url = request.url;
        let no_way = |NoWay(why)| {
            let url = Box::new(url.clone());
            Failure::for_good(UrlError::Client { url, why })
        };
        let (Some(clients), Some(files)) = (&self.clients, files_of(url)) else {
            return Err(no_way(NoWay::none()));
        };
        let place = self.ways.clone().acquire_owned().await;
        let place = place.expect("it is never closed");
        let reached = clients.reach(files).await.map_err(no_way)?;
        let mut way = reached.way;
        let said = say_and_hear(&mut way, &question(request), self.idle).await;
        let silent = |why: &dyn std::fmt::Display| {
            // It may be lost, and come back.
            let what = format!("towards the client: {why}");
            Failure::broken(url, what)
        };
        let said = match said {
            Ok(Said::Failed(trouble)) => return Err(Failure::for_good(trouble.error(url))),
            Ok(said) => said,
            Err(error) => return Err(silent(&error)),
        };
        let body = |bytes| Body::new(url, way, bytes_of(bytes), self.idle, None, place);
        let answer = answered(request, said, body);
        let answer = answer.ok_or_else(|| silent(&"it says what makes no sense"))?;
        let giver = if reached.is_client {
            Giver::Origin
        } else {
            Giver::Above
        };
        Ok((answer, giver))
    }
}

/// As to the next cache above.
const WAYS_MAX: usize = 32;
