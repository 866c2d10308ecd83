//! What a failure of librdkafka means to the engine: try again, or call a person.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use ws_stream::log::LogError;

/// Describes a failed operation; `bootstrap` is named so that a wrong address is seen at once.
pub(super) fn failed(what: &str, bootstrap: &str, error: &KafkaError) -> LogError {
    match error.rdkafka_error_code() {
        Some(code) => failed_code(what, bootstrap, code, &error.to_string()),
        None => LogError::Fatal {
            what: format!("{what} (Kafka at {bootstrap})"),
            cause: error.to_string(),
            hint: "correct the Kafka settings of the configuration".into(),
        },
    }
}

/// The same for a bare error code and its explanation.
pub(super) fn failed_code(what: &str, bootstrap: &str, code: RDKafkaErrorCode, cause: &str) -> LogError {
    use RDKafkaErrorCode as E;
    let (what, cause) = (format!("{what} (Kafka at {bootstrap})"), cause.to_owned());
    match code {
        E::TopicAuthorizationFailed | E::GroupAuthorizationFailed | E::ClusterAuthorizationFailed | E::TransactionalIdAuthorizationFailed => {
            LogError::Fatal { what, cause, hint: "give this client's principal the right in the broker's ACLs".into() }
        }
        E::Authentication | E::SaslAuthenticationFailed | E::UnsupportedSASLMechanism | E::SSL => {
            LogError::Fatal { what, cause, hint: "correct the security settings (security.protocol, sasl.*, ssl.*) of the configuration".into() }
        }
        E::ProducerFenced | E::InvalidProducerEpoch | E::Fenced => LogError::Fenced(format!("{what}: {cause}")),
        code if worth_retrying(code) => {
            let hint = format!("see that a Kafka broker runs and can be reached at {bootstrap}; it is tried again");
            LogError::Unavailable { what, cause, hint }
        }
        _ => LogError::Fatal { what, cause, hint: format!("see the broker's log at {bootstrap}") },
    }
}

fn worth_retrying(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(
        code,
        E::BrokerTransportFailure
            | E::AllBrokersDown
            | E::Resolve
            | E::OperationTimedOut
            | E::TimedOutQueue
            | E::MessageTimedOut
            | E::WaitingForCoordinator
            | E::InProgress
            | E::PreviousInProgress
            | E::QueueFull
            | E::Outdated
            | E::AssignmentLost
            | E::RequestTimedOut
            | E::BrokerNotAvailable
            | E::ReplicaNotAvailable
            | E::LeaderNotAvailable
            | E::NotLeaderForPartition
            | E::NetworkException
            | E::CoordinatorLoadInProgress
            | E::CoordinatorNotAvailable
            | E::NotCoordinator
            | E::NotEnoughReplicas
            | E::NotEnoughReplicasAfterAppend
            | E::NotController
            | E::KafkaStorageError
            | E::ConcurrentTransactions
            | E::UnstableOffsetCommit
            | E::RebalanceInProgress
            | E::IllegalGeneration
            | E::UnknownMemberId
            | E::ThrottlingQuotaExceeded
    )
}
