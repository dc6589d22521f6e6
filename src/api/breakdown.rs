//! How a result is split by a property.

use super::filter::{On, parse_on, parse_property};
use super::{Fields, Json, Node, Problem};
use crate::limits::{
    BREAKDOWN_LIMIT_DEFAULT, BREAKDOWN_LIMIT_MAX, BREAKDOWN_PROPERTY_COUNT_MAX, FUNNEL_STEP_COUNT_MAX,
};

/// One property to split by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakdown {
    pub property: String,
    pub on: On,
    /// Values that get rows of their own; the rest are folded into `$other`. At least 1.
    pub limit: usize,
    /// Which event's value is a user's, where several events make up one outcome; `None` if it is not said.
    pub attribution: Option<Attribution>,
}

/// Which event of an attempt at a funnel gives it its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    First,
    Last,
    /// The event of this step, counted from 1.
    Step(usize),
    /// Every event has the value.
    All,
}

impl Attribution {
    fn parse(node: &Node<'_>) -> Result<Attribution, Problem> {
        let Json::Object(_) = node.json() else {
            return node.word(&[
                ("first", Attribution::First),
                ("last", Attribution::Last),
                ("all", Attribution::All),
            ]);
        };
        let mut fields = node.object()?;
        let step = fields.required("step")?.integer(1..=FUNNEL_STEP_COUNT_MAX as i64)? as usize;
        fields.finish()?;
        Ok(Attribution::Step(step))
    }
}

impl Breakdown {
    /// `has_attribution`: the field `attribution` may be there.
    fn parse(node: &Node<'_>, has_attribution: bool) -> Result<Breakdown, Problem> {
        let mut fields = node.object()?;
        let property = parse_property(&fields.required("property")?)?;
        let on = parse_on(&mut fields)?;
        let limit = match fields.optional("limit") {
            Some(limit) => limit.integer(1..=BREAKDOWN_LIMIT_MAX as i64)? as usize,
            None => BREAKDOWN_LIMIT_DEFAULT,
        };
        let attribution = match has_attribution {
            true => fields.optional("attribution").map(|word| Attribution::parse(&word)).transpose()?,
            false => None,
        };
        fields.finish()?;
        Ok(Breakdown { property, on, limit, attribution })
    }

    /// The properties of the field `breakdown`: none, one or a list.
    pub(super) fn parse_list(
        fields: &mut Fields<'_>,
        has_attribution: bool,
    ) -> Result<Vec<Breakdown>, Problem> {
        let Some(node) = fields.optional("breakdown") else { return Ok(Vec::new()) };
        let Json::Array(_) = node.json() else { return Ok(vec![Breakdown::parse(&node, has_attribution)?]) };
        let list = node.array()?;
        if list.is_empty() || list.len() > BREAKDOWN_PROPERTY_COUNT_MAX {
            return Err(
                node.problem(format!("a breakdown is by 1 to {BREAKDOWN_PROPERTY_COUNT_MAX} properties"))
            );
        }
        list.iter().map(|item| Breakdown::parse(item, has_attribution)).collect()
    }

    /// The name of the column of the breakdown with this index.
    pub fn column_name(index: usize) -> String {
        if index == 0 { "breakdown".to_owned() } else { format!("breakdown_{}", index + 1) }
    }
}
