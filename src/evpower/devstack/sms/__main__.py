"""`python -m evpower.devstack.sms`."""

from evpower.devstack.sms.server import main

main()
