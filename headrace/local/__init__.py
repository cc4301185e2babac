"""The service on one machine: Valkey and the processes of `headrace up`, started, watched and started again."""
