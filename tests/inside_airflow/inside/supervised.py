"""
An executor for `run_dag(…, is_supervised=True)`: what LocalExecutor does, one task after another.

Every task gets its real supervisor, which starts the real task process and writes its log file; in 3 also the
copy of that on its own output. The execution API that it talks to in 3 is Airflow's, inside this process.
"""

from __future__ import annotations

import os

from airflow.executors.base_executor import BaseExecutor

try:
    from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor, supervise_task
except ImportError:  # Airflow 2
    supervise_task = None
    from airflow.executors.local_executor import LocalWorkerBase


class Supervised(BaseExecutor):
    """Runs a task as soon as it is queued."""

    is_local = True
    is_single_threaded = True  # or 2 refuses SQLite
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

    def execute_async(self, key, command, queue=None, executor_config=None):
        """Run a task of Airflow 2 as LocalExecutor's worker does: its supervisor is a fork of that."""
        worker = os.fork()
        if worker == 0:
            ended = 1
            try:
                ended = LocalWorkerBase._execute_work_in_fork(LocalWorkerBase(None), command) != "success"
            finally:
                os._exit(int(ended))
        _, status = os.waitpid(worker, 0)
        (self.fail if status else self.success)(key)

    def sync(self):
        """Everything has ended by the time it is started."""

    def end(self):
        """Likewise."""

    def terminate(self):
        """Likewise."""
