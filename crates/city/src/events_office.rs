//! Records of customers, contracts and money: one constructor a topic, fields as in `schemas/`.

use crate::events::{Draft, rounded};

/// A contact with a customer.
#[derive(Debug, Clone)]
pub(crate) struct Contact<'a> {
    pub customer_id: &'a str,
    pub event: &'static str,
    pub channel: &'static str,
    pub intent: &'static str,
    pub text: Option<&'static str>,
    pub sentiment: f64,
    pub site_id: &'a str,
}

pub(crate) fn customer_event(contact: &Contact<'_>) -> Draft {
    Draft::new("customer.event", "customer_id", contact.customer_id)
        .set("event", contact.event)
        .set("channel", contact.channel)
        .set("direction", "inbound")
        .set("intent", contact.intent)
        .set("text", contact.text)
        .set("language", "en-AU")
        .set("sentiment", rounded(contact.sentiment, 2))
        .set("site_id", contact.site_id)
}

/// A request for service and the state it is in.
#[derive(Debug, Clone)]
pub(crate) struct TicketState<'a> {
    pub ticket_id: &'a str,
    pub customer_id: Option<&'a str>,
    pub state: &'static str,
    pub category: &'static str,
    pub priority: &'static str,
    pub site_id: &'a str,
    pub container_id: &'a str,
    pub waste_stream: &'static str,
    pub opened_at_ms: i64,
    pub due_at_ms: i64,
    pub closed_at_ms: Option<i64>,
    pub summary: &'static str,
    pub at: (f64, f64),
}

pub(crate) fn service_ticket(ticket: &TicketState<'_>) -> Draft {
    Draft::new("service.ticket", "ticket_id", ticket.ticket_id)
        .set("customer_id", ticket.customer_id)
        .set("state", ticket.state)
        .set("category", ticket.category)
        .set("priority", ticket.priority)
        .set("site_id", ticket.site_id)
        .set("container_id", ticket.container_id)
        .set("waste_stream", ticket.waste_stream)
        .set("opened_at", ticket.opened_at_ms)
        .set("due_at", ticket.due_at_ms)
        .set("closed_at", ticket.closed_at_ms)
        .set("summary", ticket.summary)
        .at(ticket.at)
}

pub(crate) fn csat_event(customer_id: &str, ticket_id: &str, score: i64) -> Draft {
    Draft::new("csat.event", "customer_id", customer_id)
        .set("survey", "csat")
        .set("score", score as f64)
        .set("score_min", 1.0)
        .set("score_max", 5.0)
        .set("ticket_id", ticket_id)
}

pub(crate) fn consent_event(customer_id: &str, purpose: &'static str, granted: bool) -> Draft {
    Draft::new("consent.event", "customer_id", customer_id)
        .set("purpose", purpose)
        .set("granted", granted)
        .set("legal_basis", "consent")
        .set("text_version", "2025-07")
        .set("channel", "web")
}

/// A contract and what happened to it.
#[derive(Debug, Clone)]
pub(crate) struct ContractChange<'a> {
    pub customer_id: &'a str,
    pub contract_id: &'a str,
    pub event: &'static str,
    pub voluntary: Option<bool>,
    pub reason: Option<&'static str>,
    pub tariff_id: &'a str,
    pub site_id: &'a str,
    pub waste_streams: Vec<&'static str>,
    pub collections_per_week: f64,
    pub monthly_fee_minor: i64,
    pub currency: &'a str,
    pub ends_at_ms: Option<i64>,
}

pub(crate) fn contract_event(change: &ContractChange<'_>) -> Draft {
    Draft::new("contract.event", "customer_id", change.customer_id)
        .set("contract_id", change.contract_id)
        .set("event", change.event)
        .set("voluntary", change.voluntary)
        .set("reason", change.reason)
        .set("tariff_id", change.tariff_id)
        .set("site_ids", vec![change.site_id])
        .set("waste_streams", change.waste_streams.clone())
        .set("collections_per_week", change.collections_per_week)
        .set("monthly_fee_minor", change.monthly_fee_minor)
        .set("currency", change.currency)
        .set("ends_at", change.ends_at_ms)
        .set("notice_days", 30)
}

/// An invoice and what happened to it.
#[derive(Debug, Clone)]
pub(crate) struct InvoiceChange<'a> {
    pub customer_id: &'a str,
    pub invoice_id: &'a str,
    pub contract_id: &'a str,
    pub event: &'static str,
    pub amount_minor: i64,
    pub currency: &'a str,
    pub period_from_ms: i64,
    pub period_to_ms: i64,
    pub due_at_ms: i64,
    pub reminder_level: Option<i64>,
}

pub(crate) fn invoice_event(change: &InvoiceChange<'_>) -> Draft {
    Draft::new("invoice.event", "customer_id", change.customer_id)
        .set("invoice_id", change.invoice_id)
        .set("contract_id", change.contract_id)
        .set("event", change.event)
        .set("amount_minor", change.amount_minor)
        .set("tax_minor", change.amount_minor / 11)
        .set("currency", change.currency)
        .set("period_from", change.period_from_ms)
        .set("period_to", change.period_to_ms)
        .set("due_at", change.due_at_ms)
        .set("reminder_level", change.reminder_level)
}

/// Money that came or failed.
#[derive(Debug, Clone)]
pub(crate) struct Payment<'a> {
    pub customer_id: &'a str,
    pub payment_id: &'a str,
    pub invoice_id: &'a str,
    pub event: &'static str,
    pub method: &'static str,
    pub amount_minor: i64,
    pub currency: &'a str,
    pub days_late: f64,
}

pub(crate) fn payment_event(payment: &Payment<'_>) -> Draft {
    Draft::new("payment.event", "customer_id", payment.customer_id)
        .set("payment_id", payment.payment_id)
        .set("invoice_id", payment.invoice_id)
        .set("event", payment.event)
        .set("method", payment.method)
        .set("amount_minor", payment.amount_minor)
        .set("currency", payment.currency)
        .set("days_late", rounded(payment.days_late, 1))
}
