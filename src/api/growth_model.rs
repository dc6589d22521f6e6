//! The growth model: which events mean what in this product.
//!
//! A product says once what a signup, an activation, an invitation or a payment is, and growth queries ask by those
//! words. The same parts may stand in a query's own body, where they hold for that query: what is missing there comes
//! from the model, and what neither has is an error that says so. Parts are taken whole.

use super::filter::parse_property;
use super::funnel::parse_duration;
use super::request::ENTITIES;
use super::{Fields, Interval, Json, Node, Problem, Selector};
use crate::model::{DurationMs, Entity};

/// The parts of a growth model that are given, in the store's model or in the body of a query.
#[derive(Clone, Debug, Default)]
pub struct GrowthModel {
    signup: Option<Selector>,
    activate: Option<Milestone>,
    value: Option<Selector>,
    invite: Option<Selector>,
    accept: Option<Acceptance>,
    subscription: Option<Subscription>,
    paid: Option<Selector>,
    feature: Option<FeatureUse>,
    limit: Option<UsageLimit>,
}

/// What makes a user activated: enough events, soon enough after the signup.
#[derive(Clone, Debug)]
pub struct Milestone {
    pub selector: Selector,
    /// At least 1.
    pub at_least: u64,
    /// The last moment that counts, from the signup; without it, any later moment does.
    pub within: Option<DurationMs>,
}

/// The event by which a new user takes an invitation.
#[derive(Clone, Debug)]
pub struct Acceptance {
    pub selector: Selector,
    /// The property that names who invited, by id.
    pub inviter: String,
}

/// The event that tells what an entity pays from then on.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub selector: Selector,
    /// The property with the monthly recurring revenue: a decimal, 0 for cancelled.
    pub mrr: String,
    /// Who pays, if it is said.
    pub entity: Option<Entity>,
    /// The property that names the currency of `mrr`, if it is said.
    pub currency: Option<String>,
}

/// The event that uses a feature.
#[derive(Clone, Debug)]
pub struct FeatureUse {
    pub selector: Selector,
    /// The property that names the feature.
    pub property: String,
}

/// An allowance, and what uses it up.
#[derive(Clone, Debug)]
pub struct UsageLimit {
    /// Each event uses one.
    pub usage: Selector,
    /// The unit of the calendar for which the allowance is given. Never [`Interval::Total`].
    pub per: Interval,
    /// The property of a profile that says how much is allowed.
    pub allowance: String,
    /// Whose profile, if it is said.
    pub on: Option<Entity>,
}

/// The names of the parts, in the order of the documentation.
pub const GROWTH_PARTS: [&str; 9] =
    ["signup", "activate", "value", "invite", "accept", "subscription", "paid", "feature", "limit"];

impl GrowthModel {
    /// Reads a model as it is stored: an object of parts.
    pub fn parse(body: &Json) -> Result<GrowthModel, Problem> {
        let mut fields = body.root().object()?;
        let model = GrowthModel::parse_parts(&mut fields)?;
        fields.finish()?;
        Ok(model)
    }

    /// Reads the parts that stand in the body of a query beside its other fields.
    pub(super) fn parse_parts(fields: &mut Fields<'_>) -> Result<GrowthModel, Problem> {
        Ok(GrowthModel {
            signup: part(fields, "signup", parse_events)?,
            activate: part(fields, "activate", Milestone::parse)?,
            value: part(fields, "value", parse_events)?,
            invite: part(fields, "invite", parse_events)?,
            accept: part(fields, "accept", Acceptance::parse)?,
            subscription: part(fields, "subscription", Subscription::parse)?,
            paid: part(fields, "paid", parse_events)?,
            feature: part(fields, "feature", FeatureUse::parse)?,
            limit: part(fields, "limit", UsageLimit::parse)?,
        })
    }

    /// These parts, and for those that are missing the ones of `other`.
    pub fn or(self, other: &GrowthModel) -> GrowthModel {
        GrowthModel {
            signup: self.signup.or_else(|| other.signup.clone()),
            activate: self.activate.or_else(|| other.activate.clone()),
            value: self.value.or_else(|| other.value.clone()),
            invite: self.invite.or_else(|| other.invite.clone()),
            accept: self.accept.or_else(|| other.accept.clone()),
            subscription: self.subscription.or_else(|| other.subscription.clone()),
            paid: self.paid.or_else(|| other.paid.clone()),
            feature: self.feature.or_else(|| other.feature.clone()),
            limit: self.limit.or_else(|| other.limit.clone()),
        }
    }

    /// The event by which somebody becomes a user.
    pub fn signup(&self) -> Result<&Selector, Problem> {
        needed(self.signup.as_ref(), "signup", "\"signup\"")
    }

    pub fn activate(&self) -> Result<&Milestone, Problem> {
        needed(self.activate.as_ref(), "activate", "{\"event\": \"project_created\", \"within\": \"7d\"}")
    }

    /// The event in which the product gives what it promises.
    pub fn value(&self) -> Result<&Selector, Problem> {
        needed(self.value.as_ref(), "value", "\"report_viewed\"")
    }

    /// The event by which a user invites somebody.
    pub fn invite(&self) -> Result<&Selector, Problem> {
        needed(self.invite.as_ref(), "invite", "\"invite_sent\"")
    }

    pub fn accept(&self) -> Result<&Acceptance, Problem> {
        needed(
            self.accept.as_ref(),
            "accept",
            "{\"event\": \"invite_accepted\", \"inviter\": \"inviter_id\"}",
        )
    }

    pub fn subscription(&self) -> Result<&Subscription, Problem> {
        needed(self.subscription.as_ref(), "subscription", "{\"event\": \"plan_changed\", \"mrr\": \"mrr\"}")
    }

    /// The event by which somebody begins to pay.
    pub fn paid(&self) -> Result<&Selector, Problem> {
        needed(self.paid.as_ref(), "paid", "{\"event\": \"plan_upgraded\"}")
    }

    pub fn feature(&self) -> Result<&FeatureUse, Problem> {
        needed(self.feature.as_ref(), "feature", "{\"event\": \"feature_used\", \"property\": \"feature\"}")
    }

    pub fn limit(&self) -> Result<&UsageLimit, Problem> {
        let example = "{\"usage\": {\"event\": \"export_used\", \"per\": \"month\"}, \"allowance\": {\"property\": \
                       \"export_limit\"}}";
        needed(self.limit.as_ref(), "limit", example)
    }

    /// The selectors of the parts that are there, and the place of each in a stored model.
    pub fn selectors(&self) -> Vec<(&'static str, &Selector)> {
        let all = [
            ("/signup", self.signup.as_ref()),
            ("/activate", self.activate.as_ref().map(|part| &part.selector)),
            ("/value", self.value.as_ref()),
            ("/invite", self.invite.as_ref()),
            ("/accept", self.accept.as_ref().map(|part| &part.selector)),
            ("/subscription", self.subscription.as_ref().map(|part| &part.selector)),
            ("/paid", self.paid.as_ref()),
            ("/feature", self.feature.as_ref().map(|part| &part.selector)),
            ("/limit/usage", self.limit.as_ref().map(|part| &part.usage)),
        ];
        all.into_iter().filter_map(|(path, selector)| Some((path, selector?))).collect()
    }
}

/// A part that a query cannot do without.
fn needed<'a, T>(part: Option<&'a T>, name: &str, example: &str) -> Result<&'a T, Problem> {
    part.ok_or_else(|| {
        Problem::invalid(format!("the query has no {name:?}, and neither has the growth model"))
            .at("")
            .hint(format!("give {name:?} in the query, or in PUT /v1/growth-model: for example {example}"))
    })
}

fn part<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    parse: impl Fn(&Node<'_>) -> Result<T, Problem>,
) -> Result<Option<T>, Problem> {
    fields.optional(name).map(|node| parse(&node)).transpose()
}

/// Reads a part that is events and nothing else: a name, a selector, or an object whose `event` is one of those.
fn parse_events(node: &Node<'_>) -> Result<Selector, Problem> {
    if !matches!(node.json(), Json::Object(_)) {
        return Selector::parse(node);
    }
    let mut fields = node.object()?;
    let selector = parse_event_fields(&mut fields)?;
    fields.finish()?;
    Ok(selector)
}

/// Reads the events of an object that may say more of them.
pub(super) fn parse_event_fields(fields: &mut Fields<'_>) -> Result<Selector, Problem> {
    match fields.optional("event") {
        Some(event) if matches!(event.json(), Json::Object(_)) => Selector::parse(&event),
        _ => Selector::parse_fields(fields),
    }
}

impl Milestone {
    fn parse(node: &Node<'_>) -> Result<Milestone, Problem> {
        if let Json::String(_) = node.json() {
            return Ok(Milestone { selector: Selector::parse(node)?, at_least: 1, within: None });
        }
        let mut fields = node.object()?;
        let selector = parse_event_fields(&mut fields)?;
        let at_least = fields.optional("at_least").map_or(Ok(1), |count| count.integer(1..=i64::MAX))? as u64;
        let within = fields.optional("within").map(|within| parse_duration(&within)).transpose()?;
        fields.finish()?;
        Ok(Milestone { selector, at_least, within })
    }
}

impl Acceptance {
    fn parse(node: &Node<'_>) -> Result<Acceptance, Problem> {
        let mut fields = node.object()?;
        let selector = parse_event_fields(&mut fields)?;
        let inviter = parse_property(&fields.required("inviter")?)?;
        fields.finish()?;
        Ok(Acceptance { selector, inviter })
    }
}

impl Subscription {
    fn parse(node: &Node<'_>) -> Result<Subscription, Problem> {
        let mut fields = node.object()?;
        let selector = parse_event_fields(&mut fields)?;
        let mrr = parse_property(&fields.required("mrr")?)?;
        let entity = fields.optional("entity").map(|entity| entity.word(&ENTITIES)).transpose()?;
        let currency = fields.optional("currency").map(|name| parse_property(&name)).transpose()?;
        fields.finish()?;
        Ok(Subscription { selector, mrr, entity, currency })
    }
}

impl FeatureUse {
    fn parse(node: &Node<'_>) -> Result<FeatureUse, Problem> {
        let mut fields = node.object()?;
        let selector = parse_event_fields(&mut fields)?;
        let property = parse_property(&fields.required("property")?)?;
        fields.finish()?;
        Ok(FeatureUse { selector, property })
    }
}

impl UsageLimit {
    fn parse(node: &Node<'_>) -> Result<UsageLimit, Problem> {
        let mut fields = node.object()?;
        let mut usage = fields.required("usage")?.object()?;
        let selector = parse_event_fields(&mut usage)?;
        let per = Interval::parse_unit(&usage.required("per")?)?;
        usage.finish()?;
        let mut allowance = fields.required("allowance")?.object()?;
        let property = parse_property(&allowance.required("property")?)?;
        let on = allowance.optional("on").map(|on| on.word(&ENTITIES)).transpose()?;
        allowance.finish()?;
        fields.finish()?;
        Ok(UsageLimit { usage: selector, per, allowance: property, on })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<GrowthModel, Problem> {
        GrowthModel::parse(&Json::parse(json.as_bytes()).unwrap())
    }

    /// The model of the contract.
    const WHOLE: &str = r#"{"signup": "signup",
        "activate": {"event": "project_created", "at_least": 1, "within": "7d"},
        "value": "report_viewed", "invite": "invite_sent",
        "accept": {"event": "invite_accepted", "inviter": "inviter_id"},
        "subscription": {"event": {"any_of": ["plan_upgraded", "plan_downgraded", "subscription_cancelled"]},
                         "mrr": "mrr", "entity": "account"},
        "paid": {"event": "plan_upgraded"}, "feature": {"event": "feature_used", "property": "feature"},
        "limit": {"usage": {"event": "export_used", "per": "month"},
                  "allowance": {"property": "export_limit", "on": "account"}}}"#;

    #[test]
    fn every_part_is_read() {
        let model = parse(WHOLE).unwrap();
        assert_eq!(model.signup().unwrap().label, "signup");
        assert_eq!(model.activate().unwrap().within, DurationMs::parse("7d"));
        assert_eq!(model.accept().unwrap().inviter, "inviter_id");
        assert_eq!(model.subscription().unwrap().selector.any_of.len(), 3);
        assert_eq!(model.subscription().unwrap().entity, Some(Entity::Account));
        assert_eq!(model.feature().unwrap().property, "feature");
        assert_eq!(model.limit().unwrap().per, Interval::Month);
        let paths: Vec<&str> = model.selectors().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths[0], "/signup");
        assert_eq!(paths.len(), GROWTH_PARTS.len());
    }

    #[test]
    fn events_are_a_name_a_selector_or_under_event() {
        for part in [
            r#""signup""#,
            r#"{"event": "signup"}"#,
            r#"{"event": {"event": "signup"}}"#,
            r#"{"any_of": ["signup"]}"#,
            r#"{"event": {"any_of": ["signup"]}}"#,
        ] {
            let model = parse(&format!(r#"{{"signup": {part}, "activate": {part}}}"#)).unwrap();
            assert_eq!(model.signup().unwrap().label, "signup", "{part}");
            assert_eq!(model.activate().unwrap().at_least, 1, "{part}");
        }
    }

    #[test]
    fn what_is_missing_comes_from_the_other_and_what_neither_has_is_told() {
        let own = parse(r#"{"signup": "registered"}"#).unwrap();
        let both = own.or(&parse(WHOLE).unwrap());
        assert_eq!(both.signup().unwrap().label, "registered");
        assert_eq!(both.paid().unwrap().label, "plan_upgraded");
        let problem = GrowthModel::default().activate().unwrap_err();
        assert!(problem.detail.contains("\"activate\", and neither has the growth model"), "{problem}");
        assert!(problem.hint.unwrap().contains("/v1/growth-model"));
    }

    #[test]
    fn errors_name_the_place() {
        let path = |json: &str| parse(json).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#"{"sign_up": "a"}"#), "/sign_up");
        assert_eq!(path(r#"{"signup": ["a"]}"#), "/signup");
        assert_eq!(path(r#"{"signup": {"event": "a", "within": "7d"}}"#), "/signup/within");
        assert_eq!(path(r#"{"activate": {"event": "a", "at_least": 0}}"#), "/activate/at_least");
        assert_eq!(path(r#"{"activate": {"event": "a", "within": "1mo"}}"#), "/activate/within");
        assert_eq!(path(r#"{"accept": {"event": "a"}}"#), "/accept");
        assert_eq!(path(r#"{"subscription": {"event": "a", "mrr": ""}}"#), "/subscription/mrr");
        assert_eq!(
            path(r#"{"subscription": {"event": {"evnt": "a"}, "mrr": "m"}}"#),
            "/subscription/event/evnt"
        );
        assert_eq!(path(r#"{"feature": {"event": "a"}}"#), "/feature");
        assert_eq!(
            path(r#"{"limit": {"usage": {"event": "a", "per": "total"}, "allowance": {"property": "b"}}}"#),
            "/limit/usage/per"
        );
        assert_eq!(
            path(
                r#"{"limit": {"usage": {"event": "a", "per": "day"}, "allowance": {"property": "b", "on": "x"}}}"#
            ),
            "/limit/allowance/on"
        );
        assert_eq!(
            parse(r#"{"sign_up": "a"}"#).unwrap_err().hint.as_deref(),
            Some("did you mean \"signup\"?")
        );
    }
}
