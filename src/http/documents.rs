//! The addresses of stored cohorts and queries, and of the growth model.

use hyper::StatusCode;
use serde_json::json;

use super::bridge::Lane;
use super::handlers::Call;
use super::media::require_json;
use super::respond::{self, Reply};
use crate::Store;
use crate::api::{Format, Json, Problem};
use crate::model::Number;

/// The parameter of an address that says how a query runs and not what it asks.
const RUN_PARAMETER: &str = "timeout_ms";

/// Documents that have names in addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Cohort,
    Query,
}

impl Call<'_> {
    /// Stores the growth model, and tells it with what it may have meant otherwise.
    pub(super) async fn put_growth_model(&mut self) -> Result<Reply, Problem> {
        require_json(&self.parts.headers)?;
        let received = self.body().await?;
        let put = move |store: &Store| {
            let body = received.tree(Json::parse_within)?;
            let (was_there, warnings) = store.put_growth_model(&body)?;
            let told = vec![("model".to_owned(), body), ("warnings".to_owned(), Json::Array(warnings))];
            Ok((was_there, Json::Object(told)))
        };
        let (was_there, told) = self.app.bridge.write(put).await?;
        let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
        Ok(respond::json(status, &told))
    }

    pub(super) async fn show_growth_model(&mut self) -> Result<Reply, Problem> {
        Ok(respond::json(StatusCode::OK, &self.app.bridge.read(Lane::Look, Store::get_growth_model).await?))
    }

    pub(super) async fn delete_growth_model(&mut self) -> Result<Reply, Problem> {
        self.app.bridge.write(Store::delete_growth_model).await?;
        Ok(respond::json(StatusCode::OK, &json!({"deleted": true})))
    }

    pub(super) async fn list_documents(&mut self, kind: Named) -> Result<Reply, Problem> {
        let list = move |store: &Store| match kind {
            Named::Cohort => store.list_cohorts(),
            Named::Query => store.list_queries(),
        };
        Ok(respond::json(StatusCode::OK, &self.app.bridge.read(Lane::Look, list).await?))
    }

    /// Stores a document, and tells it as it is stored.
    pub(super) async fn put_document(&mut self, kind: Named) -> Result<Reply, Problem> {
        let name = self.segment();
        require_json(&self.parts.headers)?;
        let received = self.body().await?;
        let put = move |store: &Store| {
            let body = received.tree(Json::parse_within)?;
            match kind {
                Named::Cohort => Ok((store.put_cohort(&name, &body)?, store.get_cohort(&name)?)),
                Named::Query => Ok((store.put_query(&name, &body)?, store.get_query(&name)?)),
            }
        };
        let (was_there, told) = self.app.bridge.write(put).await?;
        let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
        Ok(respond::json(status, &told))
    }

    pub(super) async fn show_cohort(&mut self) -> Result<Reply, Problem> {
        let name = self.segment();
        Ok(respond::json(
            StatusCode::OK,
            &self.app.bridge.read(Lane::Look, move |store| store.get_cohort(&name)).await?,
        ))
    }

    pub(super) async fn show_query(&mut self) -> Result<Reply, Problem> {
        let address = self.segment();
        if let Some((name, format)) = split_format(&address) {
            let (name, overrides) = (name.to_owned(), self.overrides());
            let asked = self.asked_query(format)?;
            return asked.run(self.app, move |store| store.query_body(&name, &overrides)).await;
        }
        if let Some((parameter, _)) = self.parameters.iter().next() {
            let detail = format!("the query parameter {parameter:?} is of no use to a definition");
            return Err(Problem::invalid(detail).hint(format!("GET {address}.json runs the query")));
        }
        let show = move |store: &Store| store.get_query(&address);
        Ok(respond::json(StatusCode::OK, &self.app.bridge.read(Lane::Look, show).await?))
    }

    pub(super) async fn run_stored_query(&mut self) -> Result<Reply, Problem> {
        let name = self.segment();
        let asked = self.asked_query(self.wanted_format()?)?;
        require_json(&self.parts.headers)?;
        let received = self.body().await?;
        let query = move |store: &Store| {
            let overrides = received.tree(|body, room| match body.trim_ascii() {
                // Nothing is said otherwise.
                b"" => Ok(Json::Object(Vec::new())),
                body => Json::parse_within(body, room),
            })?;
            store.query_body(&name, &overrides)
        };
        asked.run(self.app, query).await
    }

    pub(super) async fn delete_document(&mut self, kind: Named) -> Result<Reply, Problem> {
        let name = self.segment();
        let delete = move |store: &Store| match kind {
            Named::Cohort => store.delete_cohort(&name),
            Named::Query => store.delete_query(&name),
        };
        self.app.bridge.write(delete).await?;
        Ok(respond::json(StatusCode::OK, &json!({"deleted": true})))
    }

    /// The fields of a query that the address says otherwise.
    fn overrides(&self) -> Json {
        let overrides = self.parameters.iter().filter(|(name, _)| *name != RUN_PARAMETER);
        Json::Object(overrides.map(|(name, text)| (name.to_owned(), value_of(text))).collect())
    }
}

/// The name of a stored query and the format at the end of its address, if there is one.
fn split_format(address: &str) -> Option<(&str, Format)> {
    let (name, ending) = address.rsplit_once('.')?;
    let (_, format) = Format::WORDS.into_iter().find(|(word, _)| *word == ending)?;
    Some((name, format))
}

/// A value in an address as a body would have it: digits are a number, all else is a string.
fn value_of(text: &str) -> Json {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match Number::parse(text) {
        Ok(number) if is_number => Json::Number(number),
        _ => Json::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_address_is_the_format() {
        assert_eq!(split_format("weekly.csv"), Some(("weekly", Format::Csv)));
        assert_eq!(split_format("weekly.2.json"), Some(("weekly.2", Format::Json)));
        assert_eq!(split_format("weekly.2"), None);
        assert_eq!(split_format("weekly"), None);
    }

    #[test]
    fn digits_are_numbers_and_times_are_strings() {
        assert_eq!(value_of("20").to_string(), "20");
        assert_eq!(value_of("-1709285400250").to_string(), "-1709285400250");
        for text in ["-30d", "2024-03-01", "now", "", "-"] {
            assert_eq!(value_of(text), Json::String(text.to_owned()));
        }
    }
}
