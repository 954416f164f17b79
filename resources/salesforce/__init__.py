"""The connected org over its API: sign-in, describe, queries and bulk jobs, for one signed-in user.

simple-salesforce carries the calls; around it this package adds what it lacks: counting, retry and
back-off, session renewal, streaming into Arrow, time-outs and resumable jobs. It knows no rule of
the product. Start at `resources.salesforce.client.Salesforce`; nothing is imported here, so that
importing the package costs nothing.
"""
