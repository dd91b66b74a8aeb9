//! The manager's side of tokens: which secrets let in whom, until when, and how often. Pure: the time is handed in.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::peer::Role;
use super::token::Secret;

/// The tokens that a manager has given out. Of the secrets it keeps hashes only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    hash: [u8; 32],
    role: Role,
    expires: SystemTime,
    uses_left: u32,
}

/// Why no token is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateTokenError {
    /// There are too many.
    #[error(
        "{TOKENS_MAX} tokens are valid or have ended in the last days: make fewer, with more uses each"
    )]
    Full,
    /// It could never be used.
    #[error(
        "a token that may be used zero times, or lasts no time or for ever, is of no use: give 1 use or more, and a time such as an hour"
    )]
    Useless,
}

/// Why a secret lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum RedeemError {
    /// No token has it.
    #[error("the manager does not know this join token: make a new one at this domain's manager")]
    Unknown,
    /// Its time is over.
    #[error("this join token has expired: make a new one at the domain's manager")]
    Expired,
    /// It let in as many as it may.
    #[error(
        "this join token is used up: make a new one at the domain's manager, if need be for more nodes"
    )]
    UsedUp,
}

impl Tokens {
    /// From `now` on the secret lets in nodes with this role, so many of them and for so long.
    ///
    /// # Errors
    ///
    /// There are too many tokens, or it would let in nobody.
    pub fn create(
        &mut self,
        now: SystemTime,
        secret: &Secret,
        role: Role,
        lifetime: Duration,
        uses: u32,
    ) -> Result<(), CreateTokenError> {
        let expires = now
            .checked_add(lifetime)
            .filter(|&expires| expires > now && uses > 0);
        let expires = expires.ok_or(CreateTokenError::Useless)?;
        self.forget(now);
        if self.0.len() >= TOKENS_MAX {
            return Err(CreateTokenError::Full);
        }
        let hash = *secret.hash().as_bytes();
        self.0.push(Entry {
            hash,
            role,
            expires,
            uses_left: uses,
        });
        Ok(())
    }

    /// Lets one node in: the role that it gets.
    ///
    /// # Errors
    ///
    /// The secret is no token's, or its token has ended.
    pub fn redeem(&mut self, now: SystemTime, secret: &Secret) -> Result<Role, RedeemError> {
        let hash = secret.hash();
        // Hashes are compared in constant time, and all of them: how long it takes tells nothing of those here.
        let mut found = None;
        for entry in &mut self.0 {
            if hash == entry.hash {
                found = Some(entry);
            }
        }
        let entry = found.ok_or(RedeemError::Unknown)?;
        if entry.expires <= now {
            return Err(RedeemError::Expired);
        }
        entry.uses_left = entry.uses_left.checked_sub(1).ok_or(RedeemError::UsedUp)?;
        Ok(entry.role)
    }

    /// Takes a token back of which nobody was told.
    pub fn withdraw(&mut self, secret: &Secret) {
        let hash = secret.hash();
        self.0.retain(|entry| hash != entry.hash);
    }

    /// Those that are valid or remembered take half of the room.
    #[must_use]
    pub fn is_half_full(&self, now: SystemTime) -> bool {
        let stay = self.0.iter().filter(|entry| entry.stays(now));
        stay.count() >= TOKENS_MAX / 2
    }

    fn forget(&mut self, now: SystemTime) {
        self.0.retain(|entry| entry.stays(now));
    }
}

impl Entry {
    /// It is valid or remembered.
    fn stays(&self, now: SystemTime) -> bool {
        let ended = now.duration_since(self.expires);
        ended.is_ok_and(|ended| ended < REMEMBERED) || self.expires > now
    }
}

/// Valid or remembered at a time: each is compared with every secret that comes.
const TOKENS_MAX: usize = 1024;
/// So long a token that has expired is told from one that never was.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + HOUR * 400_000
    }

    #[test]
    fn a_token_lets_in_so_many_and_no_more() {
        let (mut tokens, secret) = (Tokens::default(), Secret::generate().unwrap());
        tokens
            .create(start(), &secret, Role::Server, HOUR, 2)
            .unwrap();
        assert_eq!(tokens.redeem(start(), &secret), Ok(Role::Server));
        // What was saved and loaded goes on.
        let saved = postcard::to_stdvec(&tokens).unwrap();
        let mut tokens: Tokens = postcard::from_bytes(&saved).unwrap();
        assert_eq!(tokens.redeem(start(), &secret), Ok(Role::Server));
        assert_eq!(tokens.redeem(start(), &secret), Err(RedeemError::UsedUp));
        let other = Secret::generate().unwrap();
        assert_eq!(tokens.redeem(start(), &other), Err(RedeemError::Unknown));
    }

    #[test]
    fn a_token_that_is_withdrawn_lets_nobody_in_and_takes_no_room() {
        let mut tokens = Tokens::default();
        let [kept, taken] = [(); 2].map(|()| Secret::generate().unwrap());
        for secret in [&kept, &taken] {
            let created = tokens.create(start(), secret, Role::Client, HOUR, 1);
            created.unwrap();
        }
        tokens.withdraw(&taken);
        assert_eq!(tokens.redeem(start(), &taken), Err(RedeemError::Unknown));
        assert_eq!(tokens.redeem(start(), &kept), Ok(Role::Client));
        assert_eq!(tokens.0.len(), 1);
    }

    #[test]
    fn a_token_ends_on_time_and_is_forgotten_later() {
        let (mut tokens, secret) = (Tokens::default(), Secret::generate().unwrap());
        tokens
            .create(start(), &secret, Role::Client, HOUR, 9)
            .unwrap();
        let end = start() + HOUR;
        assert_eq!(
            tokens.redeem(end - Duration::from_secs(1), &secret),
            Ok(Role::Client)
        );
        assert_eq!(tokens.redeem(end, &secret), Err(RedeemError::Expired));
        tokens
            .create(
                end + REMEMBERED,
                &Secret::generate().unwrap(),
                Role::Client,
                HOUR,
                1,
            )
            .unwrap();
        assert_eq!(tokens.redeem(end, &secret), Err(RedeemError::Unknown));
        assert_eq!(tokens.0.len(), 1);
    }

    #[test]
    fn tokens_of_no_use_and_too_many_are_refused() {
        let (mut tokens, secret) = (Tokens::default(), Secret::generate().unwrap());
        for (lifetime, uses) in [(HOUR, 0), (Duration::ZERO, 1), (Duration::MAX, 1)] {
            let refused = tokens.create(start(), &secret, Role::Server, lifetime, uses);
            assert_eq!(refused, Err(CreateTokenError::Useless));
        }
        // The end of time is as good an end as any.
        let mut longest = Duration::MAX;
        while start().checked_add(longest).is_none() {
            longest /= 2;
        }
        tokens
            .create(start(), &secret, Role::Server, longest, 1)
            .unwrap();
        for made in 1..TOKENS_MAX {
            assert_eq!(tokens.is_half_full(start()), made >= TOKENS_MAX / 2);
            tokens
                .create(start(), &secret, Role::Server, HOUR, 1)
                .unwrap();
        }
        let full = tokens.create(start(), &secret, Role::Server, HOUR, 1);
        assert!(full.unwrap_err().to_string().contains("make fewer"));
        assert!(!tokens.is_half_full(start() + HOUR + REMEMBERED));
    }
}
