// What a stream says, a line each: Listen ws://127.0.0.1:8000/ws [TOKEN]
//
//     mcs -out:Listen.exe Listen.cs ../MindwireClient.cs && mono Listen.exe ws://127.0.0.1:8000/ws

using System;
using System.Globalization;
using System.Linq;
using Mindwire;

static class Listen
{
    static int Main(string[] arguments)
    {
        CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        using (var client = new MindwireClient(arguments[0], arguments.ElementAtOrDefault(1)))
        {
            while (client.Failure == null)
            {
                client.Wait(1000);
                while (client.TryRead(out var message)) Say(client, message);
            }
            Console.WriteLine("ended: " + client.Failure.Message);
            return 1;
        }
    }

    static void Say(MindwireClient client, Message message)
    {
        if (message is Hello hello)
            Console.WriteLine("hello " + hello.Stream + ": " + string.Join(" ", hello.Classes) + " " + hello.Notice);
        else if (message is Prediction prediction && prediction.Valid)
        {
            var best = Array.IndexOf(prediction.Probabilities, prediction.Probabilities.Max());
            Console.WriteLine("prediction {0} {1} {2:F2}, {3:F0} ms old", prediction.Seq, client.Hello.Classes[best], prediction.Probabilities[best], prediction.AgeMs);
        }
        else if (message is Decision decision)
            Console.WriteLine("decision {0} {1} {2:F2}, {3:F0} ms old", decision.Seq, decision.Class, decision.Confidence, decision.AgeMs);
        else if (message is Axes axes)
            Console.WriteLine("axes {0} {1}", axes.Seq, string.Join(" ", axes.Values.Select(one => one.Key + "=" + one.Value.ToString("F2"))));
        else if (message is StreamEvent made)
            Console.WriteLine("event " + made.Kind + ": " + made.Text);
        else if (message is Missed missed)
            Console.WriteLine("missed {0} between {1} and {2}{3}", missed.Count, missed.After, missed.Before, missed.Restarted ? ", restarted" : "");
        else if (message is Connection connection)
            Console.WriteLine(connection.Connected ? "connected" : "lost: " + connection.Reason);
    }
}
