//! The one table of what emulators do otherwise than EC2.

/// What some emulators do otherwise.
pub(crate) struct Departure {
    pub(crate) emulators: &'static [&'static str],
    pub(crate) check: &'static str,
    pub(crate) reason: &'static str,
}

const fn row(emulators: &'static [&'static str], check: &'static str, reason: &'static str) -> Departure {
    Departure { emulators, check, reason }
}

/// LocalStack's EC2 is moto's.
const MOTO: &[&str] = &["moto", "LocalStack"];

const TOKENS: &str = "a client token is echoed and means nothing";
const SNAPSHOTS: &str = "CreateImage with tags for its snapshots is answered with HTTP 500 or 501";
const NO_AGENTS: &str = "a command is a success at once, nothing runs, and there are no agents";
const REFERENCES: &str = "DescribeImageReferences is answered with HTTP 500 or 501, so nobody knows who uses an image";
const TAGS: &str = "CreateTags takes the id of anything, whether it exists or not";

/// A check that is named here must fail, and one that is not must pass.
pub(crate) const DEPARTURES: &[Departure] = &[
    row(MOTO, "one_token_gives_one_instance", TOKENS),
    row(MOTO, "one_token_with_other_parameters_is_refused", TOKENS),
    row(MOTO, "a_token_whose_instance_has_ended_gives_no_other", TOKENS),
    row(MOTO, "an_interface_has_its_tags_from_birth", "the tags of interfaces are dropped at launch"),
    row(MOTO, "a_launch_is_pending_before_it_runs", "an instance runs at once"),
    row(MOTO, "what_has_ended_is_neither_started_nor_stopped", "a terminated instance is started again"),
    row(MOTO, "a_renewal_with_one_unknown_instance_changes_none", TAGS),
    row(MOTO, "a_malformed_instance_id_is_our_bug", "the form of ids is not checked: NotFound"),
    row(MOTO, "too_much_user_data_is_the_owners_to_mend", "user data of any length is taken"),
    row(MOTO, "amis_are_found_by_owner_and_processor", "a registered image has neither processor nor location"),
    row(MOTO, "an_unknown_group_name_is_the_owners_to_mend", "an unknown group's name is answered with HTTP 500"),
    row(MOTO, "a_volume_is_attached_once_and_goes_free", "a volume is attached to two instances"),
    row(MOTO, "a_volume_of_another_zone_is_the_owners_to_mend", "a volume is attached across zones"),
    row(MOTO, "an_address_is_associated_once_and_goes_free", "an address stays with an instance that has ended"),
    row(MOTO, "an_image_and_its_snapshots_have_their_tags_from_birth", SNAPSHOTS),
    row(MOTO, "one_name_gives_one_image", SNAPSHOTS),
    row(MOTO, "a_name_that_another_has_is_the_owners_to_mend", SNAPSHOTS),
    row(MOTO, "an_image_is_pending_before_it_is_available", SNAPSHOTS),
    row(MOTO, "images_are_those_of_this_fleet", SNAPSHOTS),
    row(MOTO, "a_retired_image_leaves_no_snapshot", SNAPSHOTS),
    row(MOTO, "an_image_of_others_is_not_retired", SNAPSHOTS),
    row(
        MOTO,
        "a_source_is_told_and_what_never_was_is_none",
        "a registered image has disks of 15 GiB, whatever was said",
    ),
    row(MOTO, "a_fence_stays_as_long_as_its_builder", "a security group is deleted though an instance has it"),
    row(MOTO, "an_image_is_announced_to_go_and_taken_back", SNAPSHOTS),
    row(MOTO, "an_image_is_put_away_and_taken_back", SNAPSHOTS),
    row(MOTO, "an_image_is_tagged_and_keeps_its_other_tags", SNAPSHOTS),
    row(MOTO, "an_image_is_used_by_its_instances_until_they_have_ended", REFERENCES),
    row(MOTO, "an_image_is_used_by_any_version_of_a_template", REFERENCES),
    row(MOTO, "a_template_that_names_a_parameter_may_use_any_image", REFERENCES),
    row(MOTO, "a_snapshot_of_two_images_goes_with_the_second", SNAPSHOTS),
    row(
        MOTO,
        "a_rehearsal_tells_what_would_be_refused_and_does_nothing",
        "some dry runs of listings are answered with listings",
    ),
    row(MOTO, "an_interface_in_use_is_not_deleted", "an interface is deleted though an instance has it"),
    row(MOTO, "what_nobody_has_is_not_found", "to cancel an unknown spot request is answered with HTTP 500"),
    row(MOTO, "an_instance_without_an_agent_is_not_registered", "DescribeInstanceInformation is not known"),
    row(MOTO, "an_agent_that_is_there_is_registered", "DescribeInstanceInformation is not known"),
    row(MOTO, "a_command_without_an_agent_is_refused_for_now", NO_AGENTS),
    row(MOTO, "a_command_waits_for_its_agent", NO_AGENTS),
    row(MOTO, "a_command_tells_its_exit_code_and_output", NO_AGENTS),
    row(MOTO, "a_reboot_runs_the_script_again", NO_AGENTS),
    row(MOTO, "windows_reboots_by_a_code_of_its_own", NO_AGENTS),
    row(MOTO, "output_is_kept_from_its_beginning", NO_AGENTS),
    row(MOTO, "a_command_that_nobody_takes_times_out", NO_AGENTS),
    row(MOTO, "an_agent_that_does_not_come_back_leaves_its_command_to_the_clock", NO_AGENTS),
    row(MOTO, "a_shell_script_for_windows_is_the_owners_to_mend", NO_AGENTS),
    row(MOTO, "commands_are_found_by_their_comment", "a command to one instance goes to every instance"),
    row(&["wire door"], "interfaces_are_listed_and_deleted", "it does not know CreateNetworkInterface"),
];
