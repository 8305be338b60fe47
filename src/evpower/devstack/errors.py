"""The one error of the devstack: what is wrong and how to fix it."""


class DevstackError(Exception):
    """Something on this machine keeps the stack from running; `str()` is one clear line."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}. {fix}" if fix else problem)
        self.problem = problem
        self.fix = fix
