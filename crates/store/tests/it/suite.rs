//! The conformance suite: every case of the contract, once per store.

use std::sync::Arc;

use longtake_core::memory_store::MemoryStore;

use longtake_store::PostgresTuning;
use longtake_testing::postgres::TestDatabase;

use crate::given::{Folder, Given, HandClock, options};

async fn on_memory(case: impl AsyncFnOnce(&Given)) {
    let clock = Arc::new(HandClock::new());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    case(&Given::new(store.clone(), clock)).await;
    store.audit().unwrap();
}

pub async fn on_sqlite(case: impl AsyncFnOnce(&Given)) {
    let folder = Folder::new();
    let clock = Arc::new(HandClock::new());
    let store = longtake_store::open(&folder.url(), options(clock.clone())).unwrap();
    case(&Given::new(store, clock).alone()).await;
}

pub async fn on_postgres(case: impl AsyncFnOnce(&Given)) {
    let database = TestDatabase::create();
    let clock = Arc::new(HandClock::new());
    let tuning = PostgresTuning { injected_clock: true, connections: 4, ..PostgresTuning::default() };
    let store = longtake_store::connect(&database.url(), options(clock.clone()), tuning).await.unwrap();
    case(&Given::new(store, clock)).await;
}

macro_rules! suite {
    ($($module:ident { $($case:ident,)* })*) => {
        mod memory { $(mod $module { $(
            #[tokio::test]
            async fn $case() {
                crate::suite::on_memory(crate::$module::$case).await;
            }
        )* })* }
        mod sqlite { $(mod $module { $(
            #[tokio::test]
            async fn $case() {
                crate::suite::on_sqlite(crate::$module::$case).await;
            }
        )* })* }
        mod postgres { $(mod $module { $(
            #[tokio::test]
            async fn $case() {
                crate::suite::on_postgres(crate::$module::$case).await;
            }
        )* })* }
    };
}

suite! {
    create {
        a_created_job_is_there_with_its_event_and_its_work,
        a_repeated_key_gives_the_same_job,
        a_repeated_job_id_gives_the_same_job,
        a_key_used_for_other_fields_is_told,
        keys_of_different_projects_are_different,
        a_key_repeated_within_one_call_makes_one_job,
        every_field_of_a_request_comes_back,
    }
    ownership {
        acquire_takes_what_is_due_in_order_and_once,
        a_release_keeps_the_earlier_due_time,
        release_of_another_owners_row_changes_nothing,
        a_stale_owner_cannot_decide_but_can_testify,
        woken_tells_each_row_once,
        claims_leave_out_what_is_not_owned,
        the_owners_own_testimony_does_not_wake_it,
        never_is_no_time_but_news_is,
        fences_go_on_across_a_retry,
    }
    attempts {
        an_intent_is_durable_and_moves_the_job,
        a_second_open_attempt_is_refused,
        an_intent_under_an_old_fence_is_stale,
        an_account_takes_no_more_than_its_limit,
        a_limit_counts_within_one_call,
        late_attempts_count_until_they_are_settled,
        evidence_is_idempotent_and_only_moves_up,
        evidence_of_another_execution_is_ignored,
        a_second_provider_job_is_an_orphan,
        what_resembles_an_attempt_that_has_its_job_is_left_to_others,
        one_provider_job_serves_one_attempt,
        news_of_a_known_job_wake_its_owner_each_time,
        news_of_another_or_a_closed_job_wake_nobody,
        a_callback_finds_what_was_lost,
        a_rejection_is_kept_whole,
        a_late_acceptance_revives_a_live_job,
        a_late_acceptance_of_a_finished_job_is_watched,
        a_late_result_is_announced_once,
        a_watch_limit_leaves_an_orphan,
        the_senders_word_that_its_request_ended_is_durable,
        nobody_says_for_another_that_its_request_ended,
        the_senders_word_comes_late_and_wakes_the_owner,
        a_refusal_too_late_to_count_still_says_that_the_request_ended,
        a_late_attempt_shows_that_its_request_ended,
        an_intent_of_lost_history_has_no_sender,
    }
    queue {
        queued_jobs_wait_for_room_and_take_a_slot_that_is_freed,
        priority_goes_before_age,
        projects_take_turns,
        turns_are_taken_within_a_priority,
        a_model_without_room_blocks_no_other,
        models_share_the_room_of_their_account,
        each_wanted_number_is_kept_and_due_rows_come_first,
        an_account_that_takes_no_queued_jobs_gets_none,
        other_pools_are_left_alone_and_no_pool_is_everyones,
        a_canceled_job_is_due_whatever_the_limits_say,
        a_deadline_is_due_whatever_the_limits_say,
        a_release_says_where_the_row_waits,
        a_decision_says_where_the_row_waits,
        patience_leaves_due_rows_to_others,
        a_retried_job_waits_in_the_pool_given,
        a_late_attempt_is_watched_in_its_pool,
    }
    limits {
        a_full_model_opens_no_attempt,
        pace_gives_permits_evenly_and_says_when,
        no_permit_is_lost_where_another_pace_refuses,
        acquire_looks_at_the_permits,
        a_pool_keeps_its_pace_apart_from_others,
    }
    machines {
        a_fair_share_is_told_where_several_drive_an_account,
        the_silent_are_given_up_and_their_rows_taken,
        only_one_that_was_given_up_is_confirmed_dead,
        executors_are_listed_newest_first,
        work_that_nobody_serves_is_anyones,
        what_waits_for_news_only_stays_in_its_pool,
        pools_keep_their_numbers,
        history_that_may_be_missing_is_doubted,
    }
    events {
        events_are_dense_and_in_order,
        a_snapshot_shows_the_moment_of_its_event,
        listeners_hear_of_every_event_and_of_woken_work,
        a_conflict_writes_nothing,
        a_stale_step_in_a_batch_hinders_no_other,
        a_timeline_shows_attempts_events_and_exchanges,
    }
    commands {
        a_cancel_sets_the_flag_and_wakes_the_owner,
        a_cancel_of_a_finished_job_is_too_late,
        a_decision_is_noted_and_wakes_the_owner,
        a_found_provider_job_is_adopted_unless_another_has_it,
        only_a_held_job_is_resolved,
        a_retry_begins_anew_and_waives_what_is_open,
        only_a_failed_or_canceled_job_is_retried,
        other_projects_see_nothing,
        a_list_pages_in_both_directions,
        a_list_filters_by_status_model_and_metadata,
        a_hidden_job_is_gone_for_readers,
        names_keep_their_numbers,
        keys_are_found_until_they_are_revoked,
        durations_are_the_newest_of_their_model,
        stats_count_what_is_there,
    }
    artifacts {
        a_completed_job_shows_its_output,
        storing_again_replaces_the_row,
        referenced_knows_outputs_inputs_and_what_derives_from_them,
        hiding_gives_back_the_keys,
    }
    retention {
        an_old_job_goes_with_all_that_belongs_to_it,
        what_is_not_over_stays_whatever_the_policy_says,
        what_was_unfinished_is_found_a_day_later,
        time_counts_from_the_end_of_a_job,
        outputs_go_alone_and_are_told_once,
        an_object_that_a_row_still_names_is_not_told,
        events_go_alone_and_cursors_before_them_expire,
        a_job_without_its_older_events_goes_on,
        a_project_keeps_by_its_own_policy,
        an_older_doubt_of_its_account_keeps_a_job,
        a_doubt_that_nobody_looks_into_keeps_nothing,
        a_call_looks_at_no_more_than_its_limit,
        a_hidden_job_goes_too,
    }
    feed {
        the_feed_tells_every_event_once_in_pages_of_any_size,
        a_cursor_resumes_behind_its_event,
        the_feed_of_a_project_passes_over_the_others,
        one_page_looks_at_no_more_than_it_may,
        a_cursor_of_another_history_is_refused,
        the_tail_tells_each_event_once,
        the_tail_goes_on_behind_a_cursor,
    }
    webhooks {
        every_event_is_announced_to_those_who_want_it,
        a_video_has_a_webhook_of_its_own,
        first_tries_keep_the_order_of_events,
        a_lease_keeps_others_away_until_it_ends,
        a_failed_try_comes_again_by_the_schedule,
        an_endpoint_that_fails_is_left_alone_and_then_tried_once,
        what_one_address_answers_says_nothing_about_its_origin,
        a_long_queue_delays_no_other_endpoint,
        gone_ends_what_a_client_is_told_and_just_one_delivery_of_a_video,
        a_disabled_endpoint_is_told_nothing_until_it_is_enabled,
        what_a_client_changes_is_kept,
        the_log_pages_from_the_newest_on,
        a_delivery_is_told_again_when_its_client_says_so,
        a_replay_tells_what_was_missed_in_the_order_of_the_feed,
        there_is_an_end_to_endpoints_and_origins,
        what_a_receiver_says_is_kept_whatever_it_is,
        a_delivery_goes_with_its_job_and_not_before,
        what_its_circuit_left_no_try_ends_when_its_time_is_over,
    }
    webhooks_of_jobs {
        a_job_shows_what_was_sent_about_it_to_whomever,
        a_delivery_of_a_job_is_told_again_to_whomever,
        a_removed_endpoint_is_forgotten_with_its_last_delivery,
    }
}
