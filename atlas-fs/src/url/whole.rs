//! Resources that come in one piece: pages of folders.

use std::sync::Arc;
use std::time::SystemTime;

use url::Url;

use super::error::UrlError;
use super::files::Core;
use super::fresh::{Verdict, may_be_kept, serves_on_error, verdict};
use super::head::Asked;
use super::http::{Ask, Failure, Request};
use super::retry::Retry;
use super::source::Listing;
use super::store::Page;
use crate::blocking::blocking;

/// A page as it is served.
pub(super) struct Served {
    pub(super) page: Page,
    /// The origin could not be asked, and this is what was known of it before.
    pub(super) stale: bool,
}

impl Core {
    /// The entries of a folder, from its page, as it is known, if that may be served. Where there is none, or none that can be
    /// read, the folder may have an `atlas.index`, or its origin speak WebDAV.
    pub(super) async fn entries(self: &Arc<Self>, url: &Url) -> Result<Listing, UrlError> {
        let turn = self.turn(&page_turn(url));
        let _turn = turn.lock().await;
        let error = match self.entries_by(url, url, Ask::Page).await {
            Err(error) if leaves_others(&error) => error,
            entries => return entries,
        };
        if let Ok(index) = url.join(INDEX)
            && let Ok(entries) = self.entries_by(url, &index, Ask::Page).await
        {
            return Ok(entries);
        }
        let by_dav = self.entries_by(url, url, Ask::Entries).await;
        by_dav.map_err(|_| error)
    }

    /// The entries of a folder, as this page tells them.
    async fn entries_by(
        self: &Arc<Self>,
        folder: &Url,
        url: &Url,
        ask: Ask,
    ) -> Result<Listing, UrlError> {
        let Served { page, stale } = self.page(url, ask).await?;
        let at = if url == folder {
            Url::parse(&page.at).ok()
        } else {
            None
        };
        let at = at.unwrap_or_else(|| folder.clone());
        let read_listing = self.read_listing;
        let entries = blocking(move || read_listing(&at, page.content_type.as_deref(), &page.body));
        let entries = entries.await.map_err(|source| UrlError::Listing {
            url: Box::new(folder.clone()),
            source,
        })?;
        Ok(Listing {
            entries: entries.into(),
            stale,
        })
    }

    pub(super) async fn page(self: &Arc<Self>, url: &Url, ask: Ask) -> Result<Served, UrlError> {
        let (core, place) = (self.clone(), url.clone());
        let before = blocking(move || core.store.page(&place)).await;
        let before = before.map_err(|error| UrlError::disk(url, error))?;
        let now = SystemTime::now();
        if let Some(page) = &before {
            match verdict(url, &page.head, now) {
                Verdict::Fresh(_) => return succeeded(url, page.clone(), false),
                Verdict::WhileAsking => {
                    let (core, place, known) = (self.clone(), url.clone(), page.clone());
                    self.refresh(&page_turn(url), async move {
                        let retry = core.client.retry();
                        core.ask_page(&place, ask, Some(known), retry)
                            .await
                            .map(drop)
                    });
                    return succeeded(url, page.clone(), false);
                }
                Verdict::Ask => {}
            }
        }
        let may_do = before
            .as_ref()
            .filter(|page| serves_on_error(url, &page.head, now, self.options.stale));
        let retry = match may_do {
            Some(page) if self.client.is_down(url) => {
                tracing::debug!(%url, "a folder is served as it is known, since its origin could not be asked just now");
                return succeeded(url, page.clone(), true);
            }
            Some(_) => self.client.no_retry(),
            None => self.client.retry(),
        };
        match self.ask_page(url, ask, before.clone(), retry).await {
            Ok(Served { page, stale }) => succeeded(url, page, stale),
            Err(error) => match may_do {
                Some(page) if error.is_origin_down() => {
                    tracing::warn!(%url, %error, "a folder is served as it is known, since the origin cannot be asked");
                    succeeded(url, page.clone(), true)
                }
                Some(_) | None => Err(error),
            },
        }
    }

    async fn ask_page(
        self: &Arc<Self>,
        url: &Url,
        ask: Ask,
        before: Option<Page>,
        mut retry: Retry,
    ) -> Result<Served, UrlError> {
        let answer = loop {
            match self.ask_page_once(url, ask, before.as_ref()).await {
                Ok(served) => break Ok(served),
                Err(failure) => {
                    if let Err(error) = self.client.wait_after(failure, &mut retry).await {
                        break Err(error);
                    }
                }
            }
        };
        self.client.note(url, &answer);
        let served = answer?;
        let (core, place, kept) = (self.clone(), url.clone(), served.page.clone());
        let keeping = blocking(move || {
            if may_be_kept(&kept.head.headers()) {
                core.store.keep_page(&place, &kept)
            } else {
                core.store.forget_page(&place)
            }
        })
        .await;
        if let Err(error) = keeping {
            tracing::warn!(%url, %error, "a folder's page cannot be kept");
        }
        Ok(served)
    }

    async fn ask_page_once(
        &self,
        url: &Url,
        ask: Ask,
        before: Option<&Page>,
    ) -> Result<Served, Failure> {
        self.counts.asked();
        let request = Request {
            url,
            method: ask,
            range: None,
            version: None,
            known: before
                .filter(|_| ask == Ask::Page)
                .map(|page| &page.head.version),
        };
        let answer = self.client.try_once(request).await?;
        let now = SystemTime::now();
        // Of somebody above, who could not ask either.
        let stale = answer.told().is_some_and(|told| told.stale);
        let page = match (answer.status(), before) {
            (304, Some(before)) => Page {
                head: match answer.told() {
                    Some(told) => told.head.clone(),
                    None => before.head.renewed(answer.headers(), now),
                },
                ..before.clone()
            },
            (status @ (200 | 207 | 404 | 410), _) => {
                // Several answers in one, to PROPFIND.
                let status = if status == 207 { 200 } else { status };
                let head = answer.head(status, Asked::Whole, now);
                let at = answer.at().as_str().to_owned();
                let content_type = super::head::text(answer.headers(), "content-type");
                let body = if status == 200 {
                    answer.whole(PAGE_MAX).await?
                } else {
                    Vec::new()
                };
                Page {
                    head,
                    at,
                    content_type,
                    body,
                }
            }
            (status, _) => {
                let what = format!("status {status} in answer to a page");
                return Err(Failure::broken(url, what));
            }
        };
        Ok(Served { page, stale })
    }
}

/// Whether another way to list the folder may do better.
fn leaves_others(error: &UrlError) -> bool {
    matches!(
        error,
        UrlError::NotFound { .. } | UrlError::Denied { .. } | UrlError::Listing { .. }
    ) || error.status() == Some(405)
}

fn succeeded(url: &Url, page: Page, stale: bool) -> Result<Served, UrlError> {
    if page.head.status == 200 {
        Ok(Served { page, stale })
    } else {
        Err(UrlError::status_of(url, page.head.status))
    }
}

/// Pages and files of one URL are asked for in turns of their own.
pub(super) fn page_turn(url: &Url) -> Url {
    let mut turn = url.clone();
    turn.set_fragment(Some("page"));
    turn
}

/// Where a folder's entries may be told in this project's own form.
const INDEX: &str = "atlas.index";
/// A folder's page. At a hundred bytes an entry, that is more than half a million.
const PAGE_MAX: usize = 64 << 20;
