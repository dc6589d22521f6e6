//! Which addresses belong to which SDK.

/// What an address of an SDK takes. Its variants are named as the vendors name the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Calls of Segment and RudderStack, each with its type.
    SegmentBatch,
    /// One call, whose type the address says.
    SegmentCall(&'static str),
    /// What Segment's browser SDK asks for before it sends.
    SegmentSettings,
    /// What RudderStack's browser SDK asks for before it sends.
    RudderStackSettings,
    /// Events of PostHog: one, a list, or a `batch`.
    PostHogCapture,
    /// Events of PostHog, each with a result of its own.
    PostHogCaptureV1,
    /// Feature flags, of which there are none.
    PostHogFlags,
    /// What PostHog's browser SDK asks for before it sends.
    PostHogConfig,
    /// The same, as a script.
    PostHogConfigScript,
    /// Events of Amplitude or of PostHog: only the body tells.
    Batch,
    MixpanelTrack,
    MixpanelImport,
    /// Profiles of users.
    MixpanelEngage,
    /// Profiles of accounts.
    MixpanelGroups,
    AmplitudeEvents,
    AmplitudeIdentify,
    AmplitudeGroupIdentify,
    CloudEvents,
    /// A list of events, as `POST`.
    SnowplowPost,
    /// One event in the address, as `GET`.
    SnowplowPixel,
    /// Recordings, metrics and settings that are not kept: taken and thrown away, so that no SDK tries them again.
    Ignored,
}

/// Whose words a request and its answer are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Segment,
    PostHog,
    Mixpanel,
    Amplitude,
    CloudEvents,
    Snowplow,
}

/// The addresses of SDKs, which may also end in a slash; `{key}` stands for one segment.
///
/// `POST /v1/events` is not among them: it is an SDK's only when the headers say that it is a CloudEvent.
pub const ADDRESSES: [(&str, Endpoint); 44] = [
    ("/v1/batch", Endpoint::SegmentBatch),
    ("/v1/b", Endpoint::SegmentBatch),
    ("/v1/import", Endpoint::SegmentBatch),
    ("/beacon/v1/batch", Endpoint::SegmentBatch),
    ("/v1/track", Endpoint::SegmentCall("track")),
    ("/v1/t", Endpoint::SegmentCall("track")),
    ("/v1/identify", Endpoint::SegmentCall("identify")),
    ("/v1/i", Endpoint::SegmentCall("identify")),
    ("/v1/page", Endpoint::SegmentCall("page")),
    ("/v1/p", Endpoint::SegmentCall("page")),
    ("/v1/screen", Endpoint::SegmentCall("screen")),
    ("/v1/s", Endpoint::SegmentCall("screen")),
    ("/v1/group", Endpoint::SegmentCall("group")),
    ("/v1/g", Endpoint::SegmentCall("group")),
    ("/v1/alias", Endpoint::SegmentCall("alias")),
    ("/v1/a", Endpoint::SegmentCall("alias")),
    ("/v1/projects/{key}/settings", Endpoint::SegmentSettings),
    ("/v1/m", Endpoint::Ignored),
    ("/sourceConfig", Endpoint::RudderStackSettings),
    ("/capture", Endpoint::PostHogCapture),
    ("/e", Endpoint::PostHogCapture),
    ("/i/v0/e", Endpoint::PostHogCapture),
    ("/i/v1/analytics/events", Endpoint::PostHogCaptureV1),
    ("/i/v1/e", Endpoint::PostHogCaptureV1),
    ("/i/v1/logs", Endpoint::Ignored),
    ("/flags", Endpoint::PostHogFlags),
    ("/decide", Endpoint::PostHogFlags),
    ("/array/{key}/config", Endpoint::PostHogConfig),
    ("/array/{key}/config.js", Endpoint::PostHogConfigScript),
    ("/s", Endpoint::Ignored),
    ("/batch", Endpoint::Batch),
    ("/track", Endpoint::MixpanelTrack),
    ("/import", Endpoint::MixpanelImport),
    ("/engage", Endpoint::MixpanelEngage),
    ("/groups", Endpoint::MixpanelGroups),
    ("/record", Endpoint::Ignored),
    ("/settings", Endpoint::Ignored),
    ("/2/httpapi", Endpoint::AmplitudeEvents),
    ("/httpapi", Endpoint::AmplitudeEvents),
    ("/identify", Endpoint::AmplitudeIdentify),
    ("/groupidentify", Endpoint::AmplitudeGroupIdentify),
    ("/com.snowplowanalytics.snowplow/tp2", Endpoint::SnowplowPost),
    ("/i", Endpoint::SnowplowPixel),
    ("/v1/cloudevents", Endpoint::CloudEvents),
];

impl Endpoint {
    /// The endpoint at a path, with or without a slash at its end: an SDK takes no redirect.
    ///
    /// `content_type` and `is_binary_cloud_event` tell a CloudEvent from an event of ours at the one address that both
    /// are sent to.
    pub fn find(path: &str, content_type: &str, is_binary_cloud_event: bool) -> Option<Endpoint> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if path == "/v1/events" {
            let is_cloud_event = is_binary_cloud_event || content_type.starts_with("application/cloudevents");
            return is_cloud_event.then_some(Endpoint::CloudEvents);
        }
        let is_at = |address: &str| match address.split_once("{key}") {
            Some((start, end)) => between(path, start, end).is_some(),
            None => path == address,
        };
        ADDRESSES.iter().find(|(address, _)| is_at(address)).map(|(_, endpoint)| *endpoint)
    }

    /// The key that a path of an endpoint has in it, as it stands there.
    pub(super) fn key_in(path: &str) -> Option<&str> {
        let path = path.strip_suffix('/').unwrap_or(path);
        ADDRESSES.iter().find_map(|(address, _)| {
            let (start, end) = address.split_once("{key}")?;
            between(path, start, end)
        })
    }

    pub(super) fn dialect(self) -> Dialect {
        match self {
            Endpoint::SegmentBatch
            | Endpoint::SegmentCall(_)
            | Endpoint::SegmentSettings
            | Endpoint::RudderStackSettings => Dialect::Segment,
            Endpoint::PostHogCapture
            | Endpoint::PostHogCaptureV1
            | Endpoint::PostHogFlags
            | Endpoint::PostHogConfig
            | Endpoint::PostHogConfigScript
            | Endpoint::Ignored => Dialect::PostHog,
            Endpoint::MixpanelTrack
            | Endpoint::MixpanelImport
            | Endpoint::MixpanelEngage
            | Endpoint::MixpanelGroups => Dialect::Mixpanel,
            Endpoint::Batch
            | Endpoint::AmplitudeEvents
            | Endpoint::AmplitudeIdentify
            | Endpoint::AmplitudeGroupIdentify => Dialect::Amplitude,
            Endpoint::CloudEvents => Dialect::CloudEvents,
            Endpoint::SnowplowPost | Endpoint::SnowplowPixel => Dialect::Snowplow,
        }
    }

    /// Whether what is sent here may be stored. The others tell an SDK how to behave, or throw away what it sends.
    pub fn is_write(self) -> bool {
        !matches!(
            self,
            Endpoint::SegmentSettings
                | Endpoint::RudderStackSettings
                | Endpoint::PostHogFlags
                | Endpoint::PostHogConfig
                | Endpoint::PostHogConfigScript
                | Endpoint::Ignored
        )
    }

    /// The fields of a form, or of the address, that carry what is sent.
    pub(super) fn data_fields(self) -> &'static [&'static str] {
        match self {
            Endpoint::AmplitudeEvents => &["data", "event"],
            Endpoint::AmplitudeIdentify | Endpoint::AmplitudeGroupIdentify => &["data", "identification"],
            _ => &["data"],
        }
    }

    /// Whether SDKs may put their key into what they send here, rather than into its head.
    pub fn may_have_key_in_body(self) -> bool {
        self.dialect() != Dialect::CloudEvents
    }

    /// The methods of HTTP that it takes.
    pub fn methods(self) -> &'static [&'static str] {
        match self {
            Endpoint::SegmentSettings
            | Endpoint::RudderStackSettings
            | Endpoint::PostHogConfig
            | Endpoint::PostHogConfigScript
            | Endpoint::SnowplowPixel => &["GET"],
            Endpoint::PostHogCapture
            | Endpoint::MixpanelTrack
            | Endpoint::MixpanelEngage
            | Endpoint::MixpanelGroups
            | Endpoint::PostHogFlags
            | Endpoint::Ignored => &["GET", "POST"],
            Endpoint::AmplitudeIdentify | Endpoint::AmplitudeGroupIdentify => &["GET", "POST"],
            _ => &["POST"],
        }
    }
}

/// The segment between `start` and `end`, if a path is made of these three.
fn between<'a>(path: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let segment = path.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    segment.filter(|segment| !segment.is_empty() && !segment.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_changes_nothing() {
        for path in ["/batch", "/track", "/e", "/i/v0/e", "/v1/batch", "/flags", "/array/phc_1/config"] {
            let found = Endpoint::find(path, "", false);
            assert!(found.is_some(), "{path}");
            assert_eq!(found, Endpoint::find(&format!("{path}/"), "", false));
        }
        assert_eq!(Endpoint::find("/array/a/b/config", "", false), None);
        assert_eq!(Endpoint::find("/", "", false), None);
    }

    #[test]
    fn an_event_of_ours_is_no_cloud_event() {
        assert_eq!(Endpoint::find("/v1/events", "application/json", false), None);
        let batch = Endpoint::find("/v1/events", "application/cloudevents-batch+json", false);
        assert_eq!(batch, Some(Endpoint::CloudEvents));
        assert_eq!(Endpoint::find("/v1/events", "application/json", true), Some(Endpoint::CloudEvents));
    }
}
