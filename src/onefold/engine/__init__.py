"""The live loop: record, step, record, commit, send; recovery, replay and explanation."""
