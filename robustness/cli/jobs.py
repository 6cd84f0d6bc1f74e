"""Commands on clusters."""

from pathlib import Path
from typing import Annotated

import typer

from robustness.cli.studies import BudgetOption, LimitOption, RetryOption, StudyArgument, check_budget
from search_spaces import load_study


def submit(
    study: StudyArgument,
    address: Annotated[
        str, typer.Option("--address", metavar="URL", help="the cluster's dashboard, such as http://127.0.0.1:8265")
    ],
    out: Annotated[
        str, typer.Option("--out", help="results: a URI, or an absolute path that all machines of the cluster share")
    ],
    wait: Annotated[bool, typer.Option("--wait", help="until the job has ended; ends with its exit code")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="the same, and print what the job prints")] = False,
    working_dir: Annotated[
        Path | None,
        typer.Option("--working-dir", metavar="DIR", help="copied to the job; relative paths of the study start there"),
    ] = None,
    runtime_env: Annotated[
        Path | None,
        typer.Option("--runtime-env", metavar="FILE", help="YAML of Ray's runtime environment: env_vars, pip, ..."),
    ] = None,
    driver_cpus: Annotated[
        float, typer.Option("--driver-cpus", min=0, help="that the job's driver takes: it is on no machine without")
    ] = 1,
    driver_resources: Annotated[
        str | None, typer.Option("--driver-resources", metavar="JSON", help='the same, such as {"driver": 1}')
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="submit to a cluster that asks for no token, or without encryption")
    ] = False,
    retry_failed: RetryOption = False,
    limit: LimitOption = None,
    budget_hours: BudgetOption = None,
) -> int:
    """Sweep a study as a job of a Ray cluster; the same command again continues."""
    from robustness.sweep.submission import Jobs, Submission, resources_of, runtime_env_of

    loaded = load_study(study)
    options = ["--insecure"] * insecure + ["--retry-failed"] * retry_failed
    options += [] if limit is None else ["--limit", str(limit)]
    check_budget(budget_hours)
    options += [] if budget_hours is None else ["--budget-hours", str(budget_hours)]
    submission = Submission(
        study,
        out,
        options,
        working_dir,
        {} if runtime_env is None else runtime_env_of(runtime_env),
        driver_cpus,
        {} if driver_resources is None else resources_of(driver_resources),
    )
    jobs = Jobs(address, insecure=insecure)
    job = jobs.submit(loaded, submission)
    print(f"{loaded.name}: submitted as {job}; it goes on without this machine", flush=True)
    print(f"  what it prints:  ray job logs --follow {job} --address {address}")
    print(f"  how it stands:   robustness status {out}")
    print(f"  end it, saved:   ray job stop {job} --address {address}", flush=True)
    if not (wait or follow):
        return 0
    code = jobs.wait(job, show=(lambda text: print(text, end="", flush=True)) if follow else None)
    print(f"{job}: ended with exit code {code}")
    return code
