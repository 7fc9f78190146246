"""
An executor for `run_dag(…, is_supervised=True)` in Airflow 3: what LocalExecutor does, without a server.

Every task gets its real supervisor, which starts the real task process and writes its log file and the copy
of it on its own output; the execution API it talks to is Airflow's, inside this process.
"""

from __future__ import annotations

from airflow.executors.base_executor import BaseExecutor
from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor, supervise_task


class Supervised(BaseExecutor):
    """Runs one task after another."""

    is_local = True
    serve_logs = False

    def _process_workloads(self, workloads):
        for workload in workloads:
            self.queued_tasks.pop(workload.ti.key, None)
            self.running.add(workload.ti.key)
            status = supervise_task(
                ti=workload.ti,
                bundle_info=workload.bundle_info,
                dag_rel_path=workload.dag_rel_path,
                token=workload.token,
                client=InProcessTestSupervisor._api_client(),
                log_path=workload.log_path,
                subprocess_logs_to_stdout=True,  # as LocalExecutor does, always
            )
            (self.fail if status else self.success)(workload.ti.key)

    def sync(self):
        """Everything has ended by the time it is started."""

    def end(self):
        """Likewise."""

    def terminate(self):
        """Likewise."""
